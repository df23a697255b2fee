"""Runs TestU01 (L'Ecuyer and Simard, 2007) on masks, at any number of rounds.

The libraries and headers are Debian's package libtestu01-0-dev; CFLAGS and LDFLAGS say
where they are if the compiler does not know.
"""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.randomness.controls import Draw
from benchmarks.randomness.dieharder import feed
from benchmarks.randomness.layouts import stream

BATTERIES = ("SmallCrush", "Crush", "BigCrush")
FAILED, WEAK = 1e-10, 1e-3
SOURCE = Path(__file__).with_suffix(".c")
LIBRARIES = ("-ltestu01", "-ltestu01probdist", "-ltestu01mylib", "-lm")


def build(folder: Path) -> Path:
    """Compiles the program that runs a battery on its standard input.

    Args:
      folder: Where to put it.

    Returns:
      Its path.
    """
    program = folder / "testu01"
    flags = [shlex.split(os.environ.get(name, "")) for name in ("CFLAGS", "LDFLAGS")]
    command = [os.environ.get("CC", "cc"), "-O2", *flags[0], str(SOURCE)]
    command += ["-o", str(program), *flags[1], *LIBRARIES]
    subprocess.run(command, check=True)
    return program


def run(
    program: Path, battery: str, layout: str, draw: Draw, seed: int
) -> dict[str, Any]:
    """Feeds a layout to a battery.

    Args:
      program: What `build` returns.
      battery: A name in `BATTERIES`.
      layout: A name in `LAYOUTS`.
      draw: What draws the masks.
      seed: Seed of the key.

    Returns:
      The gigabytes that were read, and the p-values as pairs of name and number.

    Raises:
      CalledProcessError: If the battery stops early.
    """
    with subprocess.Popen(
        [str(program), battery], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        taken = feed(process.stdin.fileno(), stream(layout, draw, seed))
        report = process.stdout.read().decode()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, battery)
    return {"gigabytes": round(taken / 1e9, 1), "p_values": parse(report)}


def parse(report: str) -> list[tuple[str, float]]:
    """The names and p-values that a run prints."""
    lines = (line.split("\t") for line in report.splitlines())
    return [(line[1], float(line[2])) for line in lines if line[0] == "p-value"]


def judged(run: dict[str, Any]) -> tuple[int, int]:
    """How many p-values of a run are failures, and how many more are weak.

    L'Ecuyer and Simard call a p-value within 1e-10 of 0 or 1 a clear failure, and have
    those within 1e-3 printed.
    """
    nearest = [min(p, 1 - p) for _, p in run["p_values"]]
    failed = sum(p < FAILED for p in nearest)
    return failed, sum(p < WEAK for p in nearest) - failed
