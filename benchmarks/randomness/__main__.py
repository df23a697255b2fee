"""The evidence in `docs/statistics.md`, from nothing.

    python -m benchmarks.randomness laws          10 minutes of processor time
    python -m benchmarks.randomness dieharder     35 minutes
    python -m benchmarks.randomness testu01       3 minutes
    python -m benchmarks.randomness crush         3 hours, or by parts: see --help
    python -m benchmarks.randomness report        writes the tables of the page

`stream LAYOUT [DRAW]` writes raw words to standard output, for other batteries.
"""

import argparse
import itertools
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks import records
from benchmarks.randomness import batteries, evidence
from benchmarks.randomness.controls import CONTROLS, few_rounds, sound
from benchmarks.randomness.laws import holm
from jdrop._stream import ROUNDS

PAGE = records.ROOT / "docs" / "statistics.md"
RESULTS = records.RESULTS / "randomness.csv"

FAMILY_WISE = 0.01
"""Bound on the probability that any p-value of a whole run fails by chance."""

DRAWS = {"sound": sound, **CONTROLS}

FULL_SIZE = ("sound", "8 rounds", "12 rounds")
"""Draws that get the full amount of data; the other controls fail with less."""

DIEHARDER_CONTROLS = (
    ("8 rounds", "columns"),
    ("8 rounds", "outer"),
    ("4 rounds", "columns"),
)

TESTU01_ROUNDS = (8, 9, 10, 12, 13, ROUNDS)
TESTU01_LAYOUTS = ("columns", "rows", "outer")
CRUSH_ROUNDS = (13, 16, ROUNDS)

COLUMNS = ("section", "draw", "layout", "test", "parameter", "p_values", "p_value")
"""Of the results; `p_value` sums up so many `p_values` (Bonferroni)."""

Row = tuple[str, str, str, str, int, float]


def run_laws() -> Iterator[Row]:
    """Every law on the sound draw, rate by rate, and on the controls."""
    for name, draw in DRAWS.items():
        sizes = evidence.FULL if name in FULL_SIZE else evidence.SHORT
        found = evidence.judge(draw, sizes, evidence.RATES)
        if name != "sound":
            # Nobody asks at which of the rates a control fails.
            found["parameter"] = ""
        for labels, p in found.groupby(["test", "parameter"], sort=False).p_value:
            law, rate = map(str, labels)
            yield name, "", law, rate, p.size, min(1.0, float(p.min()) * p.size)


def run_dieharder() -> Iterator[Row]:
    """All tests on every layout and on AES, the quick ones on two controls."""
    sound_runs = [("sound", layout) for layout in batteries.LAYOUTS]
    for name, layout in [*sound_runs, *DIEHARDER_CONTROLS]:
        seed = 1 + 1000 * list(batteries.LAYOUTS).index(layout)
        every = name == "sound"
        tests = batteries.DIEHARDER_TESTS if every else batteries.QUICK_TESTS
        for place, test in enumerate(tests):
            chunks = batteries.stream(layout, DRAWS[name], seed + place)
            yield _summed_up(name, layout, batteries.dieharder(test, chunks))
    for test in batteries.DIEHARDER_TESTS:
        yield _summed_up("AES", "", batteries.dieharder(test, None))


def run_testu01() -> Iterator[Row]:
    """SmallCrush on three layouts, drawn with 20 rounds and with fewer."""
    for rounds, layout in itertools.product(TESTU01_ROUNDS, TESTU01_LAYOUTS):
        yield from run_battery("SmallCrush", rounds, layout)


def run_battery(battery: str, rounds: int, layout: str) -> Iterator[Row]:
    """A battery of TestU01 on a layout, drawn with so many rounds."""
    draw = sound if rounds == ROUNDS else few_rounds(rounds)
    with tempfile.TemporaryDirectory() as folder:
        program = batteries.build_testu01(Path(folder))
        chunks = batteries.stream(layout, draw, seed=1)
        for outcome in batteries.testu01(program, battery, chunks):
            yield _summed_up(f"{rounds} rounds", layout, outcome)


def _summed_up(draw: str, layout: str, outcome: batteries.Outcome) -> Row:
    test, parameter, found = outcome
    return draw, layout, test, parameter, len(found), batteries.combine(found)


RUNS = {"laws": run_laws, "dieharder": run_dieharder, "testu01": run_testu01}
TOOLS = {"dieharder": "dieharder", "testu01": "testu01", "crush": "testu01"}
"""What a command runs, and whose batteries it needs."""


def record(name: str) -> None:
    """Runs one source of evidence and replaces what is recorded of it."""
    _record(name, name, RUNS[name]())


def record_crush(rounds: Sequence[int], layouts: Sequence[str]) -> None:
    """Runs Crush on each layout, and replaces what is recorded of that part alone."""
    for layout, number in itertools.product(layouts, rounds):
        section = f"crush {layout} {number} rounds"
        _record(section, "crush", run_battery("Crush", number, layout))


def _record(section: str, name: str, found: Iterator[Row]) -> None:
    """Runs a command, or a part of it, and replaces what is recorded as a section."""
    source = records.provenance("benchmarks.randomness", name)
    if name in TOOLS:
        source["versions"][TOOLS[name]] = batteries.version(TOOLS[name])
    rows = []
    for row in found:
        print(*row, sep="\t", flush=True)
        rows.append((section, *row))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    # More digits say nothing, and there are thousands of rows.
    frame["p_value"] = frame.p_value.map("{:.6g}".format).astype(float)
    records.save(RESULTS, frame, {section: source})


def tables() -> dict[str, str]:
    """The tables of the page, from what is recorded."""
    rows = records.read(RESULTS)
    laws, dieharder, testu01 = (judged(rows[rows.section == name]) for name in RUNS)
    crush = judged(rows[rows.section.str.startswith("crush")])
    smallest = testu01.pivot_table("adjusted", "layout", "draw", "min", sort=False)
    return {
        "runs": records.table(records.runs(records.read_sources(RESULTS))),
        "verdict": _verdict(laws),
        "laws": records.table(_by_law(laws)),
        "controls": records.table(_by_draw(laws[laws.draw != "sound"], ["draw"])),
        "sensitivity": records.table(sensitivity(evidence.FULL)),
        "dieharder verdict": _verdict(dieharder),
        "dieharder": records.table(_by_draw(dieharder, ["draw", "layout"])),
        "testu01": records.table(smallest.reset_index()),
        "crush": records.table(_by_battery(crush)),
    }


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Adds p-values adjusted for all of one draw (Holm), and what fails by them."""
    adjusted = rows.groupby("draw", sort=False).p_value.transform(holm)
    return rows.assign(adjusted=adjusted, failed=adjusted < FAMILY_WISE)


def _verdict(rows: pd.DataFrame) -> str:
    sound = rows[rows.draw == "sound"]
    return (
        f"**{sound.failed.sum()} of {len(sound)} tests fail** at a family-wise level "
        f"of {FAMILY_WISE:g}; the smallest adjusted p-value is "
        f"{sound.adjusted.min():.3g}."
    )


def _by_law(rows: pd.DataFrame) -> pd.DataFrame:
    """The sound draw, law by law, and the controls that fail the same law."""
    found = rows[rows.draw == "sound"].groupby("test", sort=False)
    table = found.agg(
        {"parameter": "size", "p_value": "min", "adjusted": "min"},
    ).set_axis(["rates", "smallest p", "adjusted (Holm)"], axis=1)
    caught = rows[rows.failed].groupby("test").draw.agg(", ".join)
    table["controls that fail it"] = caught.reindex(table.index).fillna("none")
    return table.rename_axis("law").reset_index()


def _by_draw(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """How many tests each draw, on each layout, fails, and the strongest of them."""
    found = rows.groupby(names, sort=False)
    worst = rows.loc[found.p_value.idxmin()].set_index(names)
    failed = found.failed.agg(["sum", "size"]).astype(str).agg(" of ".join, axis=1)
    table = pd.DataFrame({"tests failed": failed, "the strongest": worst.test})
    return table.assign(**{"adjusted p": worst.adjusted}).reset_index()


def _by_battery(rows: pd.DataFrame) -> pd.DataFrame:
    """What each Crush saw: how many p-values, how many of them small, the smallest."""
    found = rows.groupby(["draw", "layout"], sort=False)
    worst = rows.loc[found.p_value.idxmin()].set_index(["draw", "layout"])
    small = rows.assign(small=rows.p_value < 0.002)
    table = found.p_value.size().to_frame("p-values")
    table["below 0.002"] = small.groupby(["draw", "layout"], sort=False).small.sum()
    table["the smallest"] = worst.test + ", test " + worst.parameter
    return table.assign(p=worst.p_value, adjusted=worst.adjusted).reset_index()


def sensitivity(sizes: evidence.Sizes) -> pd.DataFrame:
    """Faults that the two simplest laws would catch, from the normal distribution."""
    bits = sizes.keys * math.prod(sizes.shape)
    lags = len(evidence.lags_to(evidence.ALL_LAGS, sizes.shape[-1]))
    tests = 30 * len(evidence.RATES) + 1
    alone, pooled = stats.norm.isf(FAMILY_WISE / 2 / tests / np.array([1, lags]))
    p = np.minimum(evidence.RATES, 1 - np.array(evidence.RATES))
    table = pd.DataFrame({"rate": evidence.RATES})
    table["error of the rate"] = alone * np.sqrt(p * (1 - p) / bits)
    table["correlation at one lag"] = pooled * np.sqrt((1 + p) / (1 - p) / (bits / 2))
    return table


def main(arguments: list[str] | None = None) -> None:
    """Runs one command."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.randomness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in RUNS.items():
        commands.add_parser(name, help=run.__doc__)
    crush = commands.add_parser(
        "crush", help="Crush of TestU01; each part is recorded when it is done."
    )
    crush.add_argument(
        "--rounds", type=int, nargs="+", choices=CRUSH_ROUNDS, default=CRUSH_ROUNDS
    )
    crush.add_argument(
        "--layouts", nargs="+", choices=TESTU01_LAYOUTS, default=TESTU01_LAYOUTS
    )
    commands.add_parser("report", help="Write the tables of the page.")
    stream = commands.add_parser(
        "stream", help="Write raw words until the pipe closes."
    )
    stream.add_argument("layout", choices=batteries.LAYOUTS)
    stream.add_argument("draw", choices=DRAWS, nargs="?", default="sound")
    options = parser.parse_args(arguments)
    if options.command == "report":
        PAGE.write_text(records.fill(PAGE.read_text(), tables()))
    elif options.command == "stream":
        if options.layout in ("digits", "noise") and options.draw != "sound":
            parser.error(f"{options.layout!r} bypasses the draw: name another layout")
        chunks = batteries.stream(options.layout, DRAWS[options.draw], seed=1)
        batteries.write(sys.stdout.fileno(), chunks)
    elif options.command == "dieharder" and not shutil.which("dieharder"):
        parser.error("dieharder is not installed: apt-get install dieharder (Debian)")
    elif options.command == "crush":
        record_crush(options.rounds, options.layouts)
    else:
        record(options.command)


if __name__ == "__main__":
    main()
