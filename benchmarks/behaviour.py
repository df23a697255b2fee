"""What dropout does at its edges, in jdrop and in every other library installed.

    python -m benchmarks.behaviour
    python -m benchmarks.behaviour --peers jdrop flax.nnx --only rate

Each library is run through `benchmarks.probes` in a process of its own, on eight
virtual CPU devices, and the tables say what happened there. It takes about a minute a
library. A full run writes `docs/behaviour.md` and `benchmarks/results/`; a part of it
only prints, unless --output says where to write. The last line is JSON.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jax

from benchmarks import behaviour_page
from benchmarks.peers import PEERS
from benchmarks.probes import DROPOUT, UNITS
from benchmarks.probes.observation import plain

ROOT = Path(__file__).parent.parent
DEVICES = 8
TIMEOUT_SECONDS = 1800


def main() -> None:
    """Looks at the libraries and reports."""
    args = parse_arguments()
    if args.here:
        print(json.dumps(look(args.here, args.only)))
        return
    names = args.peers or list(PEERS)
    report = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, CPU",
        "jax": jax.__version__,
        "command": shlex.join(["python", "-m", "benchmarks.behaviour", *sys.argv[1:]]),
        "peers": {name: look_apart(name, args.only) for name in names},
    }
    page = behaviour_page.render(report)
    print(page)
    whole = not (args.peers or args.only)
    if whole or args.output:
        write(report, page, args.output or ROOT)
    print(json.dumps(summary(report)))


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", nargs="+", choices=PEERS, metavar="NAME", help="only these libraries"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only rows whose title has this text"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write")
    parser.add_argument("--here", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not any(args.only in probe.title for probe in (*DROPOUT, *UNITS)):
        parser.error(f"no row has {args.only!r} in its title")
    return args


def look_apart(name: str, only: str) -> dict[str, Any]:
    """Looks at a library in a process of its own; one that dies is a finding too."""
    say(f"{name} ...")
    command = [sys.executable, "-m", "benchmarks.behaviour"]
    try:
        done = subprocess.run(
            [*command, "--here", name, "--only", only],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"took longer than {TIMEOUT_SECONDS} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["said nothing"]
        return {"missing": f"stopped with status {done.returncode}: {plain(lines[-1])}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def look(name: str, only: str) -> dict[str, Any]:
    """Runs a library through the probes, in this process.

    Args:
      name: A name of `PEERS`.
      only: Text that the titles of the rows have to contain.

    Returns:
      The version, the call, and the observation of each row; or why there is none.
    """
    jax.config.update("jax_num_cpu_devices", DEVICES)
    warnings.simplefilter("ignore")
    try:
        peer = PEERS[name]()
    except ModuleNotFoundError as error:
        return {"missing": f"not installed ({plain(error)})"}
    except Exception as error:
        return {
            "missing": f"cannot be imported ({type(error).__name__}: {plain(error)})"
        }
    probes = [probe for probe in (*DROPOUT, *UNITS) if only in probe.title]
    return {
        "version": peer.version,
        "call": peer.call,
        "rows": {probe.title: vars(probe(peer)) for probe in probes},
    }


def write(report: dict[str, Any], page: str, output: Path) -> None:
    """Writes the results and the page."""
    results = output / "benchmarks" / "results" / f"behaviour-{report['date']}-cpu.json"
    docs = output / "docs" / "behaviour.md"
    for path, text in ((results, json.dumps(report, indent=1) + "\n"), (docs, page)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        say(f"wrote {path}")


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """What the last line says: who was seen, where jdrop falls short, who does better.

    Args:
      report: The whole report.

    Returns:
      A JSON object.
    """
    peers = report["peers"]
    rows = peers.get("jdrop", {}).get("rows", {})
    return {
        "benchmark": "behaviour",
        "date": report["date"],
        "seen": {n: peer["version"] for n, peer in peers.items() if "rows" in peer},
        "missing": {
            n: peer["missing"] for n, peer in peers.items() if "rows" not in peer
        },
        "rows": len(rows),
        "jdrop_falls_short": [t for t, seen in rows.items() if seen["meets"] is False],
        "better_than_jdrop": {
            title: sorted(better) for title, better in behaviour_page.better(report)
        },
    }


def say(text: str) -> None:
    """Reports progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
