"""Commands: `stream`, `battery`, `testu01`, `laws`, `report`; --help says more of each.

The evidence in `docs/statistics.md`, from nothing (dieharder and libtestu01-0-dev are
Debian packages)::

    python -m benchmarks.randomness laws
    python -m benchmarks.randomness battery
    python -m benchmarks.randomness battery --reference
    python -m benchmarks.randomness battery --control "4 rounds" --layouts row
    python -m benchmarks.randomness testu01 --rounds 7 8 9 10 11 12 13 16 20
    python -m benchmarks.randomness testu01 --battery Crush --layouts rows
    python -m benchmarks.randomness report
"""

import argparse
import dataclasses
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.randomness import (
    battery,
    dieharder,
    evidence,
    layouts,
    record,
    report,
    samples,
    testu01,
)
from benchmarks.randomness.controls import CONTROLS, Draw, few_rounds, sound
from benchmarks.randomness.dieharder import Source
from jdrop._stream import ROUNDS

RAW = tuple(name for name in layouts.LAYOUTS if name != "digits")
"""Layouts that go through a draw, whose rounds can be reduced."""

FULL_SIZE = ("sound", "8 rounds", "12 rounds")
"""Draws that get the full amount of data; the other controls fail with less."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    options.command_line = shlex.join(arguments)
    options.run(options)


def write_stream(options: argparse.Namespace) -> None:
    """Writes a layout as raw little-endian words to standard output."""
    left, draw = options.bytes, _draw(options, [options.layout])
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
    """Runs dieharder on each layout, and replaces what is recorded of the layout."""
    if shutil.which("dieharder") is None:
        sys.exit("dieharder is not installed: apt-get install dieharder (Debian).")
    if options.reference:
        return _run_reference(options)
    draw = _draw(options, options.layouts)
    # A control is meant to fail: there is nothing to resolve.
    reruns = 0 if options.control else battery.RERUNS
    for layout in options.layouts:
        source = dieharder.masks(layout, draw)
        seed = options.seed + 1000 * list(layouts.LAYOUTS).index(layout)
        run = _run_tests(options, layout, source, seed, reruns)
        _record(options, options.control or "sound", layout, run)


def _run_reference(options: argparse.Namespace) -> None:
    """The same tests, as often as there are layouts, on a generator beyond doubt."""
    for number in range(len(layouts.LAYOUTS)):
        seed = options.seed + 1000 * number
        run = _run_tests(options, "AES", dieharder.aes, seed, reruns=0)
        _record(options, "reference", f"AES {number + 1}", run)


def _run_tests(
    options: argparse.Namespace, name: str, source: Source, seed: int, reruns: int
) -> dict[str, Any]:
    tests = [test for test in battery.TESTS if test.number in options.tests]
    before, outcomes = os.times(), []
    for outcome in battery.run_tests(name, source, tests, seed, reruns):
        print(*dataclasses.astuple(outcome), sep="\t", flush=True)
        outcomes.append(dataclasses.asdict(outcome))
    seconds = round(sum(os.times()[:4]) - sum(before[:4]))
    return {"cpu_seconds": seconds, "outcomes": outcomes}


def _record(
    options: argparse.Namespace, draw: str, layout: str, run: dict[str, Any]
) -> None:
    """Records a run at once: a later one may be cut short."""
    about = record.context(options.command_line)
    about["versions"]["dieharder"] = dieharder.version()
    content = record.load(record.BATTERY)
    content.setdefault(draw, {})[layout] = about | run
    record.save(record.BATTERY, content)


def run_testu01(options: argparse.Namespace) -> None:
    """Runs a battery of TestU01, and replaces what is recorded of it."""
    with tempfile.TemporaryDirectory() as folder:
        program = testu01.build(Path(folder))
        for rounds in options.rounds:
            draw = sound if rounds == ROUNDS else few_rounds(rounds)
            for layout in options.layouts:
                run = testu01.run(program, options.battery, layout, draw, options.seed)
                run |= record.context(options.command_line)
                content = record.load(record.TESTU01)
                by_layout = content.setdefault(options.battery, {})
                by_layout.setdefault(layout, {})[str(rounds)] = run
                record.save(record.TESTU01, content)
                print(options.battery, layout, rounds, *testu01.judged(run), flush=True)


def _draw(options: argparse.Namespace, names: Sequence[str]) -> Draw:
    """The draw that the options ask for; digits come from the sound one only."""
    if options.control is None:
        return sound
    if "digits" in names:
        sys.exit("The layout 'digits' bypasses the draw: name others for a control.")
    return CONTROLS[options.control]


def run_laws(options: argparse.Namespace) -> None:
    """Applies every law to the sound draw and to every control."""
    content = record.context(options.command_line)
    content["draws"] = {}
    for name, draw in {"sound": sound, **CONTROLS}.items():
        sizes = samples.FULL if name in FULL_SIZE else samples.SHORT
        findings = evidence.judge(draw, sizes, options.seed)
        failed = [finding for finding in findings if finding.failed]
        print(f"{name}: {len(failed)} of {len(findings)} laws fail", flush=True)
        content["draws"][name] = {
            "sizes": dataclasses.asdict(sizes),
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }
    record.save(record.LAWS, content)


def write_report(options: argparse.Namespace) -> None:
    """Writes the page of the results recorded so far."""
    del options
    laws, runs = record.load(record.LAWS), record.load(record.BATTERY)
    crushes = record.load(record.TESTU01)
    if not laws or not crushes or not {"sound", "reference"} <= runs.keys():
        sys.exit("There is nothing to report: run the commands above it first.")
    report.PAGE.write_text(report.page(laws, runs, crushes))


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
        if name == "testu01":
            command.add_argument(
                "--battery", choices=testu01.BATTERIES, default="SmallCrush"
            )
            command.add_argument(
                "--rounds", nargs="+", type=_positive, default=[ROUNDS]
            )
            command.add_argument(
                "--layouts", nargs="+", choices=RAW, default=["row", "rows", "lanes"]
            )
        if name == "battery":
            command.add_argument(
                "--reference", action="store_true", help="test AES instead of masks"
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
    "testu01": run_testu01,
    "laws": run_laws,
    "report": write_report,
}

if __name__ == "__main__":
    main()
