"""What dropout does at its edges, in jdrop and in every other library installed.

    python -m benchmarks.behaviour
    python -m benchmarks.behaviour --peers jdrop flax.nnx --only rate

Each library goes through the cases of `benchmarks.probes` in a process of its own, on
eight virtual CPU devices, in about a minute. A full run writes
`benchmarks/results/behaviour.csv`, its provenance beside it, and `docs/behaviour.md`;
a part of it only prints, unless --output says where to write. The last line is JSON,
and the exit status is 1 if jdrop breaks a promise of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from benchmarks import behaviour_page, records
from benchmarks.peers import PEERS
from benchmarks.probes import plain
from benchmarks.probes.masks import DEVICES
from benchmarks.records import ROOT

CSV = Path("benchmarks", "results", "behaviour.csv")
PAGE = Path("docs", "behaviour.md")
COLUMNS = ("case", "library", "expected", "observed", "agrees", "cost")
TIMEOUT_SECONDS = 1800


def main() -> int:
    """Looks at the libraries, reports, and returns the exit status."""
    args = parse_arguments()
    if args.here:
        print(json.dumps(look(args.here, args.only)))
        return 0
    # As the libraries are looked at, so the provenance.
    jax.config.update("jax_platforms", "cpu")
    found = {name: look_apart(name, args.only) for name in args.peers or PEERS}
    rows = [row for about in found.values() for row in about.pop("rows", [])]
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"cost": float})
    source = records.provenance("benchmarks.behaviour", *sys.argv[1:])
    source["libraries"] = found
    tables = behaviour_page.tables(frame, source)
    print("\n\n".join(filter(None, tables.values())))
    if args.output or not (args.peers or args.only):
        output = args.output or ROOT
        records.save(output / CSV, frame, {"behaviour": source})
        page = output / PAGE
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(records.fill((ROOT / PAGE).read_text(), tables))
        say(f"wrote {output / CSV} and {page}")
    broken = behaviour_page.broken(frame)
    missing = [name for name, about in found.items() if "missing" in about]
    print(json.dumps({"rows": len(frame), "missing": missing, "broken": broken}))
    return int(bool(broken) or "jdrop" in missing)


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--peers", nargs="+", choices=PEERS, metavar="NAME", help="these libraries")
    add("--only", default="", metavar="TEXT", help="cases with this text in the title")
    add("--output", type=Path, metavar="DIR", help="where to write")
    add("--here", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.peers or PEERS
    titles = [c.title for name in names for c in behaviour_page.cases_of(name)]
    if not any(args.only in title for title in titles):
        parser.error(f"no case of these libraries has {args.only!r} in its title")
    return args


def look_apart(name: str, only: str) -> dict[str, Any]:
    """Looks at a library in a process of its own; one that dies is a finding too."""
    say(f"{name} ...")
    command = [sys.executable, "-m", "benchmarks.behaviour", "--here", name]
    try:
        done = subprocess.run(
            [*command, "--only", only],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
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
    for row in found.get("rows", []):
        if row["agrees"] == "False":
            say(f"  {row['case']}: {row['observed']} {row['detail']}")
    return found


def look(name: str, only: str) -> dict[str, Any]:
    """Takes a library through its cases, in this process: its rows, or why not."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    warnings.simplefilter("ignore")
    try:
        peer = PEERS[name]()
    except ModuleNotFoundError as error:
        return {"missing": f"not installed ({plain(error)})"}
    except Exception as error:
        kind = type(error).__name__
        return {"missing": f"cannot be imported ({kind}: {plain(error)})"}
    rows = []
    for case in behaviour_page.cases_of(name):
        if only in case.title:
            about = {"case": case.title, "library": name, "expected": case.expected}
            seen = case(peer)
            agrees = "" if seen.agrees is None else str(seen.agrees)
            rows.append(about | vars(seen) | {"agrees": agrees})
    return {"version": peer.version, "call": peer.call, "rows": rows}


def say(text: str) -> None:
    """Reports progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
