"""Commands: `stream`, `battery`, `laws` and `report`; --help says more of each.

The evidence in `docs/statistics.md`, from nothing (dieharder is a Debian package)::

    python -m benchmarks.randomness laws
    python -m benchmarks.randomness battery
    python -m benchmarks.randomness battery --control "4 rounds" --layouts row
    python -m benchmarks.randomness report
"""

import argparse
import dataclasses
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.randomness import battery, evidence, layouts, record, report, samples
from benchmarks.randomness.controls import CONTROLS, sound


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    options.command_line = shlex.join(arguments)
    options.run(options)


def write_stream(options: argparse.Namespace) -> None:
    """Writes a layout as raw little-endian words to standard output."""
    left = options.bytes
    draw = CONTROLS.get(options.control, sound)
    for chunk in layouts.stream(options.layout, draw, options.seed):
        octets = chunk.astype("<u4", copy=False).tobytes()[:left]
        try:
            sys.stdout.buffer.write(octets)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The reader has enough: the interpreter must not flush again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        left -= len(octets)
        if not left:
            return


def run_battery(options: argparse.Namespace) -> None:
    """Runs dieharder on each layout, and records every layout as it ends."""
    if shutil.which("dieharder") is None:
        sys.exit("dieharder is not installed: apt-get install dieharder (Debian).")
    content = record.load(record.BATTERY)
    for layout in options.layouts:
        run = _run_layout(options, layout)
        content.setdefault(options.control or "sound", {})[layout] = run
        record.save(record.BATTERY, content)


def _run_layout(options: argparse.Namespace, layout: str) -> dict[str, Any]:
    draw = CONTROLS.get(options.control, sound)
    tests = [test for test in battery.TESTS if test.number in options.tests]
    seed = options.seed + 1000 * list(layouts.LAYOUTS).index(layout)
    # A control is meant to fail: there is nothing to resolve.
    reruns = 0 if options.control else battery.RERUNS
    before, outcomes = os.times(), []
    for outcome in battery.run_layout(layout, draw, tests, seed, reruns):
        print(*dataclasses.astuple(outcome), sep="\t", flush=True)
        outcomes.append(dataclasses.asdict(outcome))
    run = record.context(options.command_line)
    run["versions"]["dieharder"] = battery.version()
    run["cpu_seconds"] = round(sum(os.times()[:4]) - sum(before[:4]))
    return run | {"outcomes": outcomes}


def run_laws(options: argparse.Namespace) -> None:
    """Applies every law to the sound draw and to every control."""
    sizes = {"sound": samples.FULL, **dict.fromkeys(CONTROLS, samples.SHORT)}
    content = record.context(options.command_line)
    content["draws"] = {}
    for name, draw in {"sound": sound, **CONTROLS}.items():
        findings = evidence.judge(draw, sizes[name], options.seed)
        failed = [finding for finding in findings if finding.failed]
        print(f"{name}: {len(failed)} of {len(findings)} laws fail", flush=True)
        content["draws"][name] = {
            "sizes": dataclasses.asdict(sizes[name]),
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }
    record.save(record.LAWS, content)


def write_report(options: argparse.Namespace) -> None:
    """Writes the page of the results recorded so far."""
    del options
    report.PAGE.write_text(
        report.page(record.load(record.LAWS), record.load(record.BATTERY))
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.randomness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        if name != "report":
            command.add_argument("--seed", type=int, default=1, help="first seed")
        if name in ("stream", "battery"):
            command.add_argument("--control", choices=CONTROLS, help="break the draw")
        if name == "stream":
            command.add_argument("--layout", choices=layouts.LAYOUTS, required=True)
            command.add_argument("--bytes", type=_positive, required=True)
        if name == "battery":
            numbers = sorted({test.number for test in battery.TESTS})
            command.add_argument(
                "--layouts",
                nargs="+",
                choices=layouts.LAYOUTS,
                default=[*layouts.LAYOUTS],
            )
            command.add_argument(
                "--tests", nargs="+", type=int, choices=numbers, default=numbers
            )
    return parser


def _positive(text: str) -> int:
    """A number of bytes."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1 byte; got {number}")
    return number


COMMANDS = {
    "stream": write_stream,
    "battery": run_battery,
    "laws": run_laws,
    "report": write_report,
}

if __name__ == "__main__":
    main()
