"""The benchmark of speed and memory: `python -m benchmarks.speed`.

It measures jdrop, the dropouts of Flax, Equinox, Haiku and PyTorch where they are
installed, and `x * c`, the least that a dropout can do, in interleaved rounds. It takes
about a quarter of an hour on two cores, with `--quick` about a minute. It writes
`<date>-<hardware>.json` and `.md`, prints the table of targets, and last one line of
JSON. `python -m benchmarks.plots` draws the figures.
"""

import argparse
import datetime
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.costs import targets
from benchmarks.costs.contestants import JDROP, names
from benchmarks.costs.machine import slug
from benchmarks.costs.regimes import Record, Settings, measure
from benchmarks.costs.report import markdown
from benchmarks.costs.sections import SECTIONS
from benchmarks.costs.timed_tables import contested, fastest

RESULTS = Path(__file__).parent / "results"


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a minute's version")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="SECTION",
        help=f"run some of {', '.join(SECTIONS)}",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        choices=names(),
        metavar="LIBRARY",
        help=f"leave out some of {', '.join(names())}",
    )
    parser.add_argument(
        "--shrink",
        type=_positive,
        default=1,
        metavar="N",
        help="divide the leading axis of every array, to try the benchmark out",
    )
    parser.add_argument("--dump", default="", help="a folder for the compiled programs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where results go")
    return parser.parse_args(words)


def processes(options: argparse.Namespace, backend: str) -> Iterator[Settings]:
    """The processes of a run: one for each state of memory, one for virtual devices.

    Args:
      options: The command line.
      backend: The backend of JAX.

    Yields:
      Their settings.
    """
    wanted = [section for section in SECTIONS if section in options.only]
    plans = {"warm" if backend == "cpu" else "device": [*SECTIONS]}
    plans["virtual"] = ["scaling"]
    plans[next(iter(plans))].remove("scaling")
    if backend == "cpu":
        plans["fresh"] = ["faults", "operations"]
    for regime, sections in plans.items():
        chosen = tuple(section for section in sections if section in wanted)
        if chosen:
            yield _settings(options, chosen, regime)


def run(options: argparse.Namespace) -> Record:
    """Measures.

    Args:
      options: The command line.

    Returns:
      The run: when, on what, by which command, the records, and the verdicts.
    """
    start = time.monotonic()
    [machine, *_] = measure(_settings(options, ("machine",), "device"))
    if machine["kind"] == "failure":
        sys.exit("JAX or jdrop could not be started; see the error above.")
    backend = machine["hardware"]["backend"]
    absent = ", ".join(machine["absent"]) or "nothing"
    print(f"{slug(machine['hardware'])}; left out: {absent}", file=sys.stderr)
    records: list[Record] = []
    for settings in processes(options, backend):
        print(f"-- {settings.regime}: {', '.join(settings.sections)}", file=sys.stderr)
        records += measure(settings)
    return {
        "date": datetime.date.today().isoformat(),
        "command": _command(),
        "quick": options.quick,
        "shrink": options.shrink,
        "hardware": machine["hardware"],
        "versions": machine["versions"],
        "absent": machine["absent"],
        "seconds": round(time.monotonic() - start, 1),
        "targets": targets.verdicts(records) if backend == "cpu" else [],
        "records": records,
    }


def write(result: Record, folder: Path) -> Path:
    """Writes a run as JSON and as Markdown.

    Args:
      result: The run.
      folder: Where to; it is made if need be.

    Returns:
      The path of the JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    quick = "-quick" if result["quick"] or result["shrink"] != 1 else ""
    path = folder / f"{result['date']}-{slug(result['hardware'])}{quick}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(result))
    return path


def main() -> None:
    """Measures, writes, and prints the table and a line of JSON."""
    options = arguments()
    result = run(options)
    path = write(result, options.out)
    print(markdown(result))
    failed = sum(record["kind"] == "failure" for record in result["records"])
    contests = contested(result["records"])
    line = {
        "targets": len(result["targets"]),
        "met": sum(row["met"] for row in result["targets"]),
        "contests": len(contests),
        "won": sum(fastest(record) == JDROP for record in contests),
        "failed_processes": failed,
        "seconds": result["seconds"],
        "results": str(path),
    }
    print(json.dumps(line))
    sys.exit(1 if failed else 0)


def _settings(
    options: argparse.Namespace, sections: tuple[str, ...], regime: str
) -> Settings:
    return Settings(
        sections=sections,
        regime=regime,
        quick=options.quick,
        shrink=options.shrink,
        without=tuple(options.without),
        dump=options.dump,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"it divides, so it is 1 or more; got {text}")
    return number


def _command() -> str:
    return shlex.join(["python", "-m", "benchmarks.speed", *sys.argv[1:]])


if __name__ == "__main__":
    main()
