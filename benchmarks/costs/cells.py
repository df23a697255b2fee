"""Markdown: tables, and how numbers and shapes read in them."""

from collections.abc import Iterable
from typing import Any

from benchmarks.costs.regimes import Record


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table, or "" if it has no rows."""
    lines = [_line(row) for row in rows]
    head = list(head)
    return "\n".join([_line(head), _line(["---"] * len(head)), *lines]) if lines else ""


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.2g} us"


def shape(record: Record) -> str:
    """The shape of a record's x, such as "4096x4096"."""
    return "x".join(map(str, record["shape"]))


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
