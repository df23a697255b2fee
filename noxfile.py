"""Runs jdrop in environments of their own: other versions, and other chips.

    nox -s versions                      every pair of releases below, 2 minutes each
    nox -s "versions(jax 0.7.0, flax 0.11.0)"
    python -m benchmarks.versions        writes the tables of docs/versions.md
    nox -s compiled                      compiles for TPUs and a GPU, 20 minutes
    nox -s compiled -- --only v5e h100

Each session of `versions` installs a pair and a wheel of this tree, runs the self-check
and `benchmarks/versions_probe.py`, and replaces its rows of the results. Releases that
need Python 3.12 are skipped where there is none on the PATH.
"""

import csv
import datetime
from importlib.metadata import version
from pathlib import Path

import nox
from nox.command import CommandFailed

# Also where the variable CI is set, for which nox would fail.
nox.options.error_on_missing_interpreters = False

RESULTS = Path("benchmarks/results/versions.csv")
COLUMNS = ["date", "jax", "flax", "what", "setting", "result"]

# Python, jax, and a flax of that time that asks for no newer jax. Beside the oldest jax
# that works stands the flax before the oldest that does.
PAIRS = (
    ("3.11", "0.4.38", "0.10.2"),
    ("3.11", "0.5.3", "0.10.5"),
    ("3.11", "0.6.2", "0.11.0"),
    ("3.11", "0.7.0", "0.10.7"),
    ("3.11", "0.7.0", "0.11.0"),
    ("3.11", "0.7.2", "0.12.0"),
    ("3.11", "0.8.3", "0.12.3"),
    ("3.11", "0.9.2", "0.12.6"),
    ("3.11", "0.10.2", "0.12.8"),
    ("3.12", "0.11.2", "0.12.10"),
    ("3.12", "0.12.0.1", "0.12.12"),
)

# Settings under which one key could give another mask.
SETTINGS = {
    "default": {},
    "partitionable off": {"JAX_THREEFRY_PARTITIONABLE": "0"},
    "partitionable on": {"JAX_THREEFRY_PARTITIONABLE": "1"},
    "x64 on": {"JAX_ENABLE_X64": "1"},
}

# Two devices, so that there is something to shard over.
TWO_DEVICES = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
}


@nox.session(venv_backend="virtualenv")
@nox.parametrize(
    "python, jax, flax",
    [nox.param(*pair, id=f"jax {pair[1]}, flax {pair[2]}") for pair in PAIRS],
)
def versions(session: nox.Session, jax: str, flax: str) -> None:
    """Whether jdrop works, and draws the same masks, with a pair of releases."""
    refusal = install(session, f"jax=={jax}", f"flax=={flax}", "flatbuffers")
    # Without requirements: with a jax that these rule out, what fails is then jdrop.
    refusal = refusal or install(session, "--no-deps", ".")
    if refusal:
        record(jax, flax, [["install", "", refusal]])
        session.error(refusal)
    rows = probe(session, "checks", "")
    for setting in SETTINGS:
        rows += probe(session, "masks", setting)
    record(jax, flax, rows)


def install(session: nox.Session, *words: str) -> str | None:
    """Runs pip; returns why it refuses, if it does."""
    pip = ("python", "-m", "pip", "--disable-pip-version-check", "install", *words)
    said = str(session.run(*pip, silent=True, success_codes=(0, 1)))
    # It complains of what `--no-deps` overrules, but goes on.
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    errors = [line for line in errors if "dependency resolver" not in line]
    return errors[-1].removeprefix("ERROR: ") if errors else None


def probe(session: nox.Session, part: str, setting: str) -> list[list[str]]:
    """What an isolated Python finds, for which no source tree is in sight."""
    command = ("python", "-I", "benchmarks/versions_probe.py", part)
    environment = {**TWO_DEVICES, **SETTINGS.get(setting, {})}
    try:
        said = session.run(*command, env=environment, silent=True, stderr=None)
    except CommandFailed as failure:
        return [[part, setting, f"the probe died: {failure}"]]
    return [
        [what, setting, result] for what, result in csv.reader(str(said).splitlines())
    ]


def record(jax: str, flax: str, rows: list[list[str]]) -> None:
    """Replaces the rows of a pair of releases."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    order = [list(pair[1:]) for pair in PAIRS]
    with RESULTS.open(newline="") as file:
        known = [row for row in csv.reader(file) if row[1:3] in order]
    known = [row for row in known if row[1:3] != [jax, flax]]
    known += [[today, jax, flax, *row] for row in rows]
    known.sort(key=lambda row: order.index(row[1:3]))
    with RESULTS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *known])


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def compiled(session: nox.Session) -> None:
    """What the compilers for TPU and GPU make of jdrop and its peers.

    The environment has the compilers of the jax that nox runs beside; it takes 6 GB,
    and is kept for the next time.
    """
    jax, flax = f"jax[tpu,cuda12]=={version('jax')}", f"flax=={version('flax')}"
    peers = (flax, "equinox", "dm-haiku")
    session.install(jax, *peers, "nvidia-cuda-nvdisasm", "--group", "results")
    session.run("python", "-m", "benchmarks.compiled", *session.posargs)
