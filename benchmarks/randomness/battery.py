"""A selection from dieharder, a public battery of tests, and what it reports."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from benchmarks.randomness.dieharder import Source


class Test(NamedTuple):
    """A test of dieharder; 0 leaves a choice to it.

    Attributes:
      number: Its number (`dieharder -l` lists them).
      ntuple: Size of tuples, lag or number of dimensions, where the test takes one.
      samples: Number of p-values that its verdict rests on.
    """

    number: int
    ntuple: int = 0
    samples: int = 0


TESTS = (
    *(Test(number) for number in (0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 15, 16)),
    # Left to itself it reads 8 GB.
    Test(17, samples=20),
    *(Test(number) for number in (100, 101, 102)),
    *(Test(200, bits) for bits in (1, 2, 4, 8)),
    *(Test(201, dimensions) for dimensions in (2, 5)),
    *(Test(202, length) for length in (2, 5)),
    *(Test(203, lag) for lag in (0, 1, 7)),
    *(Test(number) for number in (204, 205, 206, 207, 208, 209)),
)
"""All tests that dieharder itself calls good, with a selection of tuples and lags."""

RERUNS = 3
"""How often the battery reruns a test before it stops."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One p-value of the battery.

    Attributes:
      layout: The layout of the stream, or the name of another source.
      seed: Its seed.
      rerun: 0 for the first run, 1, 2, ... for those with other keys.
      test: dieharder's name of the test.
      number: dieharder's number of the test.
      ntuple: The size of tuples, the lag or the number of dimensions, as the test says.
      samples: The number of p-values that this one sums up.
      p_value: The p-value of the Kolmogorov-Smirnov test over all samples.
      assessment: dieharder's own word: PASSED, WEAK or FAILED.
      megabytes: How much of a stream the test read, with what the pipe held.
    """

    layout: str
    seed: int
    rerun: int
    test: str
    number: int
    ntuple: int
    samples: int
    p_value: float
    assessment: str
    megabytes: float


def run_tests(
    name: str, source: Source, tests: Iterable[Test], seed: int, reruns: int = RERUNS
) -> Iterator[Outcome]:
    """Runs tests, each on a stream of its own, and reruns what is not PASSED.

    Args:
      name: What to call the source.
      source: Where the bits come from.
      tests: What to run.
      seed: Seed of the first test; the others and the reruns count on from it.
      reruns: How often a test that is not PASSED is run again with another key.

    Yields:
      Every p-value, first runs and reruns alike.
    """
    for place, test in enumerate(tests):
        for rerun in range(1 + reruns):
            key = seed + place + 100 * rerun
            outcomes = run_test(name, source, test, key, rerun)
            yield from outcomes
            if all(outcome.assessment == "PASSED" for outcome in outcomes):
                break


def run_test(
    name: str, source: Source, test: Test, seed: int, rerun: int
) -> list[Outcome]:
    """Runs one test, which may report several p-values."""
    arguments = ["-d", str(test.number), "-n", str(test.ntuple)]
    if test.samples:
        arguments += ["-p", str(test.samples)]
    report, taken = source(arguments, seed)
    stamp: dict[str, Any] = {
        "layout": name,
        "seed": seed,
        "rerun": rerun,
        "number": test.number,
        "megabytes": round(taken / 1e6, 1),
    }
    outcomes = [Outcome(**stamp, **line) for line in parse(report)]
    if not outcomes:
        raise RuntimeError(f"dieharder {' '.join(arguments)} has no result:\n{report}")
    return outcomes


def parse(report: str) -> Iterator[dict[str, Any]]:
    """The fields of an outcome that each line of results has."""
    for line in report.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 6 and fields[-1] in ("PASSED", "WEAK", "FAILED"):
            yield {
                "test": fields[0],
                "ntuple": int(fields[1]),
                "samples": int(fields[3]),
                "p_value": float(fields[4]),
                "assessment": fields[5],
            }
