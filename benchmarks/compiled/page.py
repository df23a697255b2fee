"""The tables of `docs/compiled.md`, from what was recorded.

python -m benchmarks.compiled.page
"""

import math
from typing import Any, NamedTuple

import pandas as pd

from benchmarks import records
from benchmarks.compiled.programs import BITS, RBG
from benchmarks.contestants import FLAX, FLOOR, JDROP, NOTHING
from benchmarks.table import names

PAGE = records.ROOT / "docs" / "compiled.md"
RESULTS = records.RESULTS / "compiled.csv"

PROGRAM = ["case", "shape", "dtype", "rate", "contestant"]
FIGURES = ["cycles", "uncounted", "kernels", "launches", "whiles", "instructions"]
FIGURES += ["temporaries", "collectives", "copies", "seconds"]
COLUMNS = ["section", *PROGRAM, "keys", *FIGURES, "failure"]

WHOLE = ["forward", "pullback", "gradient", "MLP", "MLP step", "attention"]
WHOLE += ["attention step"]
LARGE = ("4096x4096", "8x2048x1024")


class Target(NamedTuple):
    """The most that a figure of jdrop's may be in some programs, on some chips."""

    what: str
    chips: str
    figure: str
    limit: float
    case: str = "forward"
    shapes: tuple[str, ...] = LARGE
    rate: float = 0.1


WANTED = (
    Target("cycles to `x * c`", "v5e", "ratio", 1.15, rate=0.5),
    Target("cycles to `x * c`", "v5e", "ratio", 1.6),
    Target("cycles to `x * c`", "v5p v6e v4", "ratio", 1.15, rate=0.5),
    Target("cycles to `x * c`", "v5p v6e v4", "ratio", 1.9),
    Target("cycles to `x * c`", "v5e", "ratio", 1.4, "pullback"),
    Target("cycles to `x * c`", "v5p", "ratio", 1.55, "pullback"),
    Target("cycles to no dropout", "v5e", "ratio", 1.6, "MLP", ()),
    Target("copies, transposes", "v4 v5e v5p v6e h100", "copies", 0, shapes=()),
    Target("`while`s", "h100", "whiles", 0, shapes=()),
    Target("kernels", "h100", "kernels", 3, shapes=(), rate=0.5),
    Target("kernels", "h100", "kernels", 3, shapes=()),
)


def load() -> pd.DataFrame:
    """The rows with their numbers, and what is derived from them."""
    rows = records.read(RESULTS)
    rows[FIGURES] = rows[FIGURES].apply(pd.to_numeric)
    rows["name"] = names(rows)
    where = ["section", "case", "shape", "dtype"]
    floors = rows[rows.name.isin([FLOOR, NOTHING])].set_index(where)
    floors = floors[["cycles", "temporaries"]].add_prefix("least ")
    rows = rows.join(floors, on=where)
    elements = [math.prod(map(int, shape.split("x"))) for shape in rows["shape"]]
    rows["ratio"] = rows.cycles / rows["least cycles"]
    kept = rows.temporaries - rows["least temporaries"]
    rows["bits"] = 8 * kept / elements
    return rows


def tables(rows: pd.DataFrame, sources: Any) -> dict[str, str]:
    """The tables of the page."""
    tpu, gpu = rows[rows.section != "h100"], rows[rows.section == "h100"]
    whole = rows["case"].isin(WHOLE)
    drawn = rows.rate.notna()
    gpu_figures = ["kernels", "launches", "whiles", "instructions", "bits", "copies"]
    frames = {
        "targets": targets(rows),
        "cycles": across(tpu[whole & drawn], "ratio"),
        "gpu": gpu[whole][[*PROGRAM[:-1], "name", *gpu_figures]],
        "temporaries": across(tpu[whole & drawn], "bits"),
        "copies": across(rows[rows.copies > 0], "copies"),
        "collectives": across(rows[~whole], "collectives"),
        "seconds": compile_times(rows),
        "failures": rows[rows.failure != ""][["section", *PROGRAM, "failure"]],
        "runs": records.runs(sources),
    }
    return {name: records.table(frame.fillna("")) for name, frame in frames.items()}


def across(rows: pd.DataFrame, figure: str) -> pd.DataFrame:
    """A figure of each program, a column for each chip."""
    index = [*PROGRAM[:-1], "name"]
    order = rows[index].drop_duplicates()
    wide = rows.pivot_table(index=index, columns="section", values=figure, dropna=False)
    return order.merge(wide.reset_index(), on=index)


def targets(rows: pd.DataFrame) -> pd.DataFrame:
    """What was wanted, and the least and the most that was found, on each chip."""
    lines = []
    for target in WANTED:
        own = rows[(rows.name == JDROP) & (rows["case"] == target.case)]
        own = own[own.rate == target.rate]
        own = own[own["shape"].isin(target.shapes)] if target.shapes else own
        for chip in target.chips.split():
            found = own[own.section == chip][target.figure]
            met = "yes" if found.max() <= target.limit else "**no**"
            lines.append(
                {
                    "chip": chip,
                    "what": f"{target.case}: {target.what}",
                    "rate": target.rate,
                    "shapes": ", ".join(target.shapes) or "all",
                    "target": target.limit,
                    "least": found.min(),
                    "most": found.max(),
                    "met": met,
                }
            )
    return pd.DataFrame(lines)


def compile_times(rows: pd.DataFrame) -> pd.DataFrame:
    """Seconds of processor time to compile one dropout."""
    own = rows[(rows["case"] == "forward") & (rows["shape"] == LARGE[0])]
    own = own[own.dtype == "float32"]
    return across(own[own.name.isin([JDROP, FLAX, RBG, BITS])], "seconds")


def write() -> None:
    """Writes the page."""
    blocks = tables(load(), records.read_sources(RESULTS))
    PAGE.write_text(records.fill(PAGE.read_text(), blocks))


if __name__ == "__main__":
    write()
