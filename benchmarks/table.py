"""What the sections of the benchmark of speed are told, and their tidy rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.records import NUMBERS
from benchmarks.timing import Quartiles

Row = dict[str, Any]

COLUMNS = ["section", "case", "memory", "shape", "dtype", "rate", "contestant", "keys"]
COLUMNS += ["metric", "unit", "low", "value", "high"]
"""Memory is "warm", "fresh" or "device"; low and high are quartiles, if there are."""


@dataclass(frozen=True)
class Settings:
    """What a process measures, and how thoroughly.

    Attributes:
      section: What it measures.
      memory: The state of memory.
      quick: Fewer rounds, rates, sizes and contestants.
    """

    section: str = "ops"
    memory: str = "warm"
    quick: bool = False

    @property
    def pace(self) -> tuple[int, float]:
        """Rounds, and the seconds that a turn lasts at least."""
        return (3, 0.002) if self.quick else (11, 0.02)


def row(
    name: str, metric: str, value: float, unit: str, shape: Any = (), **about: Any
) -> Row:
    """One measurement.

    Args:
      name: The contestant, with its kind of key behind a comma.
      metric: What was measured.
      value: The figure.
      unit: Its unit; of a ratio, what it is to.
      shape: Shape of x.
      **about: Other columns. The process that measures adds section and memory.
    """
    contestant, _, keys = name.partition(", ")
    figure = {"metric": metric, "value": value, "unit": unit}
    lengths = "x".join(map(str, shape))
    return {"contestant": contestant, "keys": keys, "shape": lengths} | about | figure


def quartile_rows(
    results: Mapping[str, Mapping[str, Quartiles]], reference: str, **about: Any
) -> Iterator[Row]:
    """The rows of what `timing.compete` returned."""
    for name, figures in results.items():
        for metric, quartiles in figures.items():
            # More digits than a clock has would only make the file larger.
            low, value, high = (float(f"{figure:.4g}") for figure in quartiles)
            unit = "s" if metric == "time" else f"to {reference}"
            yield row(name, metric, value, unit, **about) | {"low": low, "high": high}


def tidy(rows: list[Any]) -> pd.DataFrame:
    """Rows as a frame of `COLUMNS`; missing labels are "", missing numbers NaN."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    kinds = {name: float if name in NUMBERS else object for name in COLUMNS}
    texts = set(COLUMNS).difference(NUMBERS)
    return frame.astype(kinds).fillna(dict.fromkeys(texts, ""))


def names(rows: pd.DataFrame) -> pd.Series:
    """The contestants as `row` takes them."""
    return (rows.contestant + ", " + rows["keys"]).str.removesuffix(", ")
