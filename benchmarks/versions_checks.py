"""What works with one version of JAX, found out in an environment made for it."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import versions_env

PROBE = Path(__file__).with_name("versions_probe.py")

# Settings under which one key could give another mask.
FLAGS: dict[str, dict[str, str]] = {
    "default": {},
    "partitionable off": {"JAX_THREEFRY_PARTITIONABLE": "0"},
    "partitionable on": {"JAX_THREEFRY_PARTITIONABLE": "1"},
    "x64 on": {"JAX_ENABLE_X64": "1"},
}

# Two devices, so that there is something to shard over.
DEVICES = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
}
TIMEOUT_SECONDS = 600


def measure(
    folder: Path, jax: str, flax: str, python: str, wheel: Path, *, keep: bool
) -> dict[str, Any]:
    """Makes one environment and returns what works in it."""
    found: dict[str, Any] = {"jax": jax, "flax": flax}
    packages = (f"jax=={jax}", f"flax=={flax}", "flatbuffers")
    with versions_env.environment(
        folder / f"{jax}-{flax}", python, packages, wheel, keep=keep
    ) as made:
        if isinstance(made, str):
            return {**found, "python": python, "install": made}
        found |= versions_env.versions(made)
        found["install"] = None
        found["golden"] = golden(made)
        found["checks"] = probe(made, "checks", {})
        found["masks"] = {
            name: probe(made, "masks", env) for name, env in FLAGS.items()
        }
    return found


def golden(python: Path) -> dict[str, Any]:
    """Runs `python -m jdrop`: its report, and why it is not as it should be."""
    done = run(python, ["-m", "jdrop", "--json"], {})
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        return {"failure": last_line(done.stderr), "report": None}
    wrong = [
        f"{way['name']}: {way['reason'] or 'differs'}"
        for way in report["checks"]
        if way["status"] not in ("agrees", "skipped")
    ]
    for way in report["checks"]:
        way["vectors"] = len(way["vectors"])
    return {"failure": "; ".join(wrong) or None, "report": report}


def probe(python: Path, what: str, flags: dict[str, str]) -> dict[str, Any]:
    """Runs the probe in an environment; one that dies is a finding too."""
    done = run(python, [str(PROBE), what], flags)
    if done.returncode == 0:
        return json.loads(done.stdout)
    return {"probe": last_line(done.stderr)}


def run(
    python: Path, words: list[str], flags: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs Python on CPU devices, isolated from any source tree and from settings."""
    settings = {"PATH": os.environ["PATH"], **DEVICES, **flags}
    command = [str(python), "-I", *words]
    try:
        done = subprocess.run(
            command,
            cwd=python.parent,
            env=settings,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        late = f"took longer than {TIMEOUT_SECONDS} s"
        return subprocess.CompletedProcess(command, 1, "", late)
    done.stdout, done.stderr = map(without_paths, (done.stdout, done.stderr))
    return done


def without_paths(text: str) -> str:
    """An error message without the path of a folder that will be gone."""
    return re.sub(r" \([^ ()]*site-packages[^ ()]*\)", "", text)


def last_line(text: str) -> str:
    """The line of a traceback that names the error."""
    return (text.strip().splitlines() or ["said nothing"])[-1]
