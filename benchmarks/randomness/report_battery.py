"""The tables of the battery on the page `docs/statistics.md`."""

from collections.abc import Iterable, Iterator
from typing import Any

from scipy import stats

from benchmarks.randomness.battery import RERUNS

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
            first = _first(run)
            words = [line["assessment"] for line in first]
            read = {line["seed"]: line["megabytes"] for line in first}
            lines.append(
                [draw, layout, len(read), f"{sum(read.values()) / 1000:.1f}"]
                + [len(words), *map(words.count, ("PASSED", "WEAK", "FAILED"))]
                + [run["cpu_seconds"]]
            )
    head = ["draw", "layout", "tests", "GB fed", "p-values"]
    return table([*head, "PASSED", "WEAK", "FAILED", "CPU s"], lines)


def against_reference(battery: Record) -> str:
    """Whether the masks are WEAK more often than the reference is (Fisher, exact)."""
    counts = []
    for draw in ("sound", "reference"):
        first = [line for run in battery[draw].values() for line in _first(run)]
        weak = sum(line["assessment"] != "PASSED" for line in first)
        counts.append((weak, len(first) - weak))
    (masks, passed), (reference, others) = counts
    p_value = stats.fisher_exact(counts, alternative="greater").pvalue
    return (
        f"In their first runs, {masks} of {masks + passed} p-values of the masks and "
        f"{reference} of {reference + others} of the reference are not PASSED; that "
        "the masks have as many or more by chance has probability "
        f"{p_value:.2g} (Fisher's exact test)."
    )


def reruns(sound: Record) -> str:
    """What was not PASSED under some key, with its p-values under all keys tried."""
    lines = []
    for layout, run in sound.items():
        tests = _by_seed(run["outcomes"])
        for seed, test in tests.items():
            if test[0]["rerun"]:
                continue
            later = (tests.get(seed + 100 * rerun) for rerun in range(1, 1 + RERUNS))
            for same in zip(test, *filter(None, later), strict=True):
                if any(line["assessment"] != "PASSED" for line in same):
                    label = f"{same[0]['test']}, {same[0]['ntuple']}"
                    lines.append([layout, label, ", ".join(map(_judged, same))])
    return table(["layout", "test", "p-value under each key in turn"], lines)


def p_values(sound: Record) -> str:
    """All p-values of the first runs, a column for each layout."""
    columns = [dict(_labelled(run["outcomes"])) for run in sound.values()]
    lines = [
        [label, *(column.get(label, "") for column in columns)] for label in columns[0]
    ]
    return table(["test", *sound], lines)


def _first(run: Record) -> list[Record]:
    """The outcomes of the first runs."""
    return [line for line in run["outcomes"] if not line["rerun"]]


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
