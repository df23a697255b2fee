"""The tables of the battery on the page `docs/statistics.md`."""

from collections.abc import Iterable, Iterator
from typing import Any

Record = dict[str, Any]


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def totals(battery: Record) -> str:
    """How much was read, and how many p-values each assessment got at first."""
    lines = []
    for draw, layouts in battery.items():
        for layout, run in layouts.items():
            first = [line for line in run["outcomes"] if not line["rerun"]]
            words = [line["assessment"] for line in first]
            read = {line["seed"]: line["megabytes"] for line in first}
            lines.append(
                [draw, layout, len(read), f"{sum(read.values()) / 1000:.1f}"]
                + [len(words), *map(words.count, ("PASSED", "WEAK", "FAILED"))]
            )
    head = ["draw", "layout", "tests", "GB read", "p-values"]
    return table([*head, "PASSED", "WEAK", "FAILED"], lines)


def reruns(sound: Record) -> str:
    """Every p-value that was not PASSED at first, and those of its reruns."""
    lines = []
    for layout, run in sound.items():
        tests = _by_seed(run["outcomes"])
        for seed, test in tests.items():
            for place, line in enumerate(test):
                if line["rerun"] or line["assessment"] == "PASSED":
                    continue
                again = (tests.get(seed + 100 * rerun, ()) for rerun in (1, 2, 3))
                later = [_judged(rerun[place]) for rerun in again if rerun]
                name = f"{line['test']} {line['ntuple']}"
                lines.append([layout, name, _judged(line), ", ".join(later)])
    return table(["layout", "test", "first key", "other keys"], lines)


def p_values(sound: Record) -> str:
    """All p-values of the first runs, a column for each layout."""
    columns = [dict(_labelled(run["outcomes"])) for run in sound.values()]
    lines = [
        [label, *(column.get(label, "") for column in columns)] for label in columns[0]
    ]
    return table(["test", *sound], lines)


def _by_seed(outcomes: list[Record]) -> dict[int, list[Record]]:
    """The outcomes of each run of a test, by its seed, which no other run has."""
    tests: dict[int, list[Record]] = {}
    for line in outcomes:
        tests.setdefault(line["seed"], []).append(line)
    return tests


def _labelled(outcomes: list[Record]) -> Iterator[tuple[str, str]]:
    """A label and the p-value of every line of every first run."""
    for test in _by_seed(outcomes).values():
        for place, line in enumerate(test):
            if not line["rerun"]:
                label = f"{line['test']}, {line['ntuple']}"
                yield f"{label}, no. {place + 1}", _judged(line)


def _judged(line: Record) -> str:
    """The p-value, and the assessment unless that is PASSED."""
    passed = line["assessment"] == "PASSED"
    return f"{line['p_value']:.4f}" + ("" if passed else f" {line['assessment']}")
