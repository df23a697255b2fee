"""The tables of `docs/behaviour.md`: the rows of `benchmarks.behaviour`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from benchmarks import records
from benchmarks.probes import Case, arguments, family, masks, outputs

DROPOUT = (*arguments.CASES, *outputs.CASES, *masks.CASES)

RULES_OF_FLAX = {
    ("jdrop.linen", "the mode by position: True"),
    ("jdrop.linen", "one key used twice, jax_debug_key_reuse"),
}
"""Where a module of jdrop does as Flax does, against what its functions promise."""


class Table(NamedTuple):
    """A table of the page: its columns, which are libraries, and its rows."""

    libraries: tuple[str, ...]
    cases: tuple[Case, ...]


FUNCTIONS = ("jdrop", "flax.linen", "flax.nnx", "equinox", "haiku", "keras")
TABLES = {
    "functions": Table((*FUNCTIONS, "torch", "tensorflow"), DROPOUT),
    "modules": Table(("flax.linen", "jdrop.linen", "flax.nnx", "jdrop.nnx"), DROPOUT),
    "family": Table(
        ("jdrop", "keras", "torch", "torch._refs", "timm", "torchvision"),
        family.FAMILY,
    ),
}


def cases_of(library: str) -> list[Case]:
    """The cases that a library goes through, in the order of the page."""
    tables = TABLES.values()
    found = [c for table in tables if library in table.libraries for c in table.cases]
    return list(dict.fromkeys(found))


def tables(rows: pd.DataFrame, source: Mapping[str, Any]) -> dict[str, str]:
    """The tables of the page by name, empty where there is nothing to show.

    Args:
      rows: Of `benchmarks/results/behaviour.csv`, with `agrees` as text.
      source: Their provenance, and what is known of each library.

    Returns:
      Markdown.
    """
    libraries = [
        (name, about.get("version", "-"), about.get("missing") or f"`{about['call']}`")
        for name, about in source["libraries"].items()
    ]
    columns = ["library", "version", "called as"]
    return {
        "run": records.table(records.runs({"behaviour": source})),
        "libraries": records.table(pd.DataFrame(libraries, columns=columns)),
        **{name: _wide(rows, table) for name, table in TABLES.items()},
        "better": _better(rows),
    }


def better(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in which another library meets what jdrop misses, or at a lower cost.

    jdrop's own stand beside them, in columns that end in `_own`.
    """
    own = rows[rows.library == "jdrop"]
    others = rows[~rows.library.str.startswith("jdrop")]
    pairs = others.merge(own, on="case", suffixes=("", "_own"))
    meets = (pairs.agrees == "True") & (pairs.agrees_own == "False")
    return pairs[meets | (pairs.cost < pairs.cost_own)]


def broken(rows: pd.DataFrame) -> list[str]:
    """The promises that jdrop breaks, as "library: case: what was observed"."""
    own = rows[rows.library.str.startswith("jdrop") & (rows.agrees == "False")]
    return [
        f"{row.library}: {row.case}: {row.observed}"
        for row in own.itertuples()
        if (row.library, row.case) not in RULES_OF_FLAX
    ]


def _better(rows: pd.DataFrame) -> str:
    lines = []
    for (case, own), found in better(rows).groupby(["case", "observed_own"]):
        others = "; ".join(found.library + " " + found.observed)
        lines.append(f"- {case}: jdrop {own}; {others}.")
    return "\n".join(lines) or "In none of these rows."


def _wide(rows: pd.DataFrame, table: Table) -> str:
    """A row a case, a column a library, without the cases that none could be asked."""
    titles = [case.title for case in table.cases]
    rows = rows[rows.case.isin(titles) & rows.library.isin(table.libraries)]
    asked = rows.case[~rows.observed.str.startswith("(")]
    rows = rows[rows.case.isin(asked)]
    if rows.empty:
        return ""
    marks = rows.agrees.map({"False": "✗ "}).fillna("")
    wide = rows.assign(cell=marks + rows.observed).pivot(
        index=["case", "expected"], columns="library", values="cell"
    )
    present = [name for name in table.libraries if name in wide]
    wide = wide[present].fillna("").reset_index()
    wide = wide.sort_values("case", key=lambda column: column.map(titles.index))
    return records.table(wide.rename(columns={"expected": "jdrop must"}))
