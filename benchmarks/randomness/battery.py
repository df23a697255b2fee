"""Runs dieharder, a public battery of tests, on streams of masks."""

import dataclasses
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from benchmarks.randomness.controls import Draw
from benchmarks.randomness.layouts import stream
from benchmarks.randomness.packed import Words


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
      layout: The layout of the stream.
      seed: The seed of the stream.
      rerun: 0 for the first run, 1, 2, ... for those with other keys.
      test: dieharder's name of the test.
      number: dieharder's number of the test.
      ntuple: The size of tuples, the lag or the number of dimensions, as the test says.
      samples: The number of p-values that this one sums up.
      p_value: The p-value of the Kolmogorov-Smirnov test over all samples.
      assessment: dieharder's own word: PASSED, WEAK or FAILED.
      megabytes: How much of the stream the test read, with what the pipe held.
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


def run_layout(
    layout: str, draw: Draw, tests: Iterable[Test], seed: int, reruns: int = RERUNS
) -> Iterator[Outcome]:
    """Runs tests, each on a stream of its own, and reruns what is not PASSED.

    Args:
      layout: A name in `LAYOUTS`.
      draw: What draws the masks.
      tests: What to run.
      seed: Seed of the first test; the others and the reruns count on from it.
      reruns: How often a test that is not PASSED is run again with another key.

    Yields:
      Every p-value, first runs and reruns alike.
    """
    for place, test in enumerate(tests):
        for rerun in range(1 + reruns):
            outcomes = run_test(layout, draw, seed + place + 100 * rerun, rerun, test)
            yield from outcomes
            if all(outcome.assessment == "PASSED" for outcome in outcomes):
                break


def run_test(
    layout: str, draw: Draw, seed: int, rerun: int, test: Test
) -> list[Outcome]:
    """Feeds a fresh stream to one test, which may report several p-values."""
    command = ["dieharder", "-g", "200", "-d", str(test.number), "-n", str(test.ntuple)]
    if test.samples:
        command += ["-p", str(test.samples)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        taken = feed(process.stdin.fileno(), stream(layout, draw, seed))
        report = process.stdout.read().decode()
    stamp: dict[str, Any] = {
        "layout": layout,
        "seed": seed,
        "rerun": rerun,
        "number": test.number,
    }
    outcomes = [
        Outcome(**stamp, **line, megabytes=round(taken / 1e6, 1))
        for line in parse(report)
    ]
    if not outcomes:
        raise RuntimeError(f"{' '.join(command)} reported no p-value:\n{report}")
    return outcomes


def feed(pipe: int, chunks: Iterable[Words]) -> int:
    """Writes chunks into a pipe until its reader closes it; returns the bytes taken."""
    taken = 0
    try:
        for chunk in chunks:
            octets = memoryview(chunk.astype("<u4", copy=False).tobytes())
            while octets:
                written = os.write(pipe, octets)
                taken += written
                octets = octets[written:]
    except BrokenPipeError:
        pass
    return taken


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


def version() -> str:
    """The version of dieharder, from the banner over its list of tests."""
    listed = subprocess.run(["dieharder", "-l"], capture_output=True, text=True)
    found = re.search(r"version (\S+)", listed.stdout)
    return found[1] if found else "unknown"
