"""`docs/behaviour.md`: the rows of `benchmarks.behaviour` as tables."""

import io
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.probes import Case, arguments, masks, outputs

DROPOUT = (*arguments.CASES, *outputs.CASES, *masks.CASES)

RULES_OF_FLAX = {
    ("jdrop.linen", "the mode by position: True"),
    ("jdrop.linen", "one key used twice, jax_debug_key_reuse"),
}
"""Where a module of jdrop does as Flax does, against what its functions promise."""


@dataclass(frozen=True)
class Table:
    """A part of the page.

    Attributes:
      title: Its heading.
      remark: What it compares.
      libraries: Its columns.
      cases: Its rows.
    """

    title: str
    remark: str
    libraries: tuple[str, ...]
    cases: tuple[Case, ...]


TABLES = (
    Table(
        "Functions",
        "The dropout of each library, called as the list above says.",
        (
            *("jdrop", "flax.linen", "flax.nnx", "equinox", "haiku"),
            *("keras", "torch", "tensorflow"),
        ),
        DROPOUT,
    ),
    Table(
        "Drop-in modules",
        "jdrop's modules beside the ones that they replace. `jdrop.linen` keeps two "
        "rules of Flax, so that a program that migrates keeps working: the mode may be "
        "given by position, and a key is folded anew at every call, which hides its "
        "reuse.",
        ("flax.linen", "jdrop.linen", "flax.nnx", "jdrop.nnx"),
        DROPOUT,
    ),
    Table(
        "The family",
        "Alpha dropout, Gaussian dropout and drop block, where a library has them; "
        "Flax, equinox, haiku and TensorFlow have none of these.",
        ("jdrop", "keras", "torch", "torch._refs", "timm", "torchvision"),
        outputs.FAMILY,
    ),
)

PREFACE = """\
# What dropout does, as observed

`{command}` wrote this page on {date}, with Python {python}, JAX {jax}, {hardware}.

A cell is made from what happened when the call was made: the values that came out, or
the type of the exception. **✗** is an outcome other than the second column's, which is
what jdrop asks of itself; the other libraries have not promised it. What stands in
brackets says why there was nothing to look at. A bias is named where it exceeds five
standard deviations of its estimate; where none does, that bound is. The fingerprint is
for comparing two pages, made with two versions of JAX, say. All of it ran on the CPU: a
GPU may keep other residuals and draw another mask in a library that does not promise
one.
"""


def cases_of(library: str) -> list[Case]:
    """The cases that a library goes through, in the order of the page."""
    found = [c for table in TABLES if library in table.libraries for c in table.cases]
    return list(dict.fromkeys(found))


def read(text: str) -> pd.DataFrame:
    """The rows of a CSV, all of them text, for "nan" is an outcome like others."""
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def render(rows: pd.DataFrame, provenance: dict[str, Any]) -> str:
    """The page.

    Args:
      rows: What `read` made of the CSV.
      provenance: What the JSON beside it holds.

    Returns:
      Markdown.
    """
    libraries = pd.DataFrame(
        [
            (
                name,
                about.get("version", "-"),
                about.get("missing") or f"`{about['call']}`",
            )
            for name, about in provenance["libraries"].items()
        ],
        columns=["library", "version", "called as"],
    )
    parts = [PREFACE.format(**provenance), _markdown(libraries)]
    for table in TABLES:
        wide = _wide(rows, table)
        if not wide.empty:
            parts += [f"## {table.title}\n\n{table.remark}\n", _markdown(wide)]
    parts += ["## Where another library does better than jdrop\n", _better(rows)]
    return "\n".join(parts)


def better(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in which another library meets what jdrop misses, or at a lower cost.

    Args:
      rows: What `read` made of the CSV.

    Returns:
      Those rows, with jdrop's own beside them, whose columns end in `_own`.
    """
    rows = rows.assign(cost=pd.to_numeric(rows.cost))
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
        lines.append(f"- {case}: jdrop {own}; {others}.\n")
    return "".join(lines) or "In none of these rows.\n"


def _wide(rows: pd.DataFrame, table: Table) -> pd.DataFrame:
    """A row a case, a column a library, without the cases that none could be asked."""
    titles = [case.title for case in table.cases]
    rows = rows[rows.case.isin(titles) & rows.library.isin(table.libraries)]
    asked = rows.case[~rows.observed.str.startswith("(")]
    rows = rows[rows.case.isin(asked)]
    marks = rows.agrees.map({"False": "✗ "}).fillna("")
    wide = rows.assign(cell=marks + rows.observed).pivot(
        index=["case", "expected"], columns="library", values="cell"
    )
    present = [name for name in table.libraries if name in wide]
    wide = wide[present].fillna("").reset_index()
    wide = wide.sort_values("case", key=lambda column: column.map(titles.index))
    return wide.rename(columns={"expected": "jdrop must"})


def _markdown(frame: pd.DataFrame) -> str:
    frame = frame.map(lambda cell: cell.replace("|", "\\|"))
    return frame.to_markdown(index=False, disable_numparse=True) + "\n"
