"""The tables of `docs/compiled.md`, from what was recorded.

python -m benchmarks.compiled.page
"""

import math
from typing import Any

import pandas as pd

from benchmarks import records
from benchmarks.compiled.programs import BITS, CUTS, KERNEL, RBG
from benchmarks.compiled.targets import TARGETS
from benchmarks.contestants import FLAX, FLOOR, JDROP, NOTHING
from benchmarks.table import names

PAGE = records.ROOT / "docs" / "compiled.md"
RESULTS = records.RESULTS / "compiled.csv"

PROGRAM = ["case", "shape", "dtype", "rate", "contestant"]
FIGURES = ["cycles", "uncounted", "bundles", "kernels", "launches", "whiles"]
FIGURES += ["instructions", "temporaries", "collectives", "copies", "seconds"]
COLUMNS = ["section", *PROGRAM, "keys", *FIGURES, "failure"]
INDEX = [*PROGRAM[:-1], "name"]
LARGE = ("4096x4096", "8x2048x1024")

WANTED = (
    ("cycles", "forward", 0.5, 1.15, "v4 v5e v5p v6e"),
    ("cycles", "forward", 0.1, 1.6, "v5e"),
    ("cycles", "forward", 0.1, 1.9, "v4 v5p v6e"),
    ("cycles", "pullback", 0.1, 1.4, "v5e"),
    ("cycles", "pullback", 0.1, 1.55, "v5p"),
    ("cycles", "MLP", 0.1, 1.6, "v5e"),
    ("copies", "forward", 0.5, 0, "v4 v5e v5p v6e h100"),
    ("copies", "forward", 0.1, 0, "v4 v5e v5p v6e h100"),
    ("bits", "forward", 0.5, 2, "v4 v5e v5p v6e h100"),
    ("bits", "forward", 0.1, 2, "v4 v5e v5p v6e h100"),
    ("whiles", "forward", 0.5, 0, "h100"),
    ("whiles", "forward", 0.1, 0, "h100"),
    ("kernels", "forward", 0.5, 3, "h100"),
    ("kernels", "forward", 0.1, 3, "h100"),
)
"""The most that a figure of jdrop's may be: in a case, at a rate, on chips.

Cycles, to those without dropout, and bits are of the large shapes.
"""


def load() -> pd.DataFrame:
    """The rows with their numbers, and what is derived from them."""
    rows = records.read(RESULTS)
    rows[FIGURES] = rows[FIGURES].apply(pd.to_numeric)
    rows[["section", "part"]] = rows.section.str.split(" ", n=1, expand=True).reindex(
        columns=[0, 1]
    )
    rows["name"] = names(rows)
    where = ["section", "case", "shape", "dtype"]
    floors = rows[rows.name.isin([FLOOR, NOTHING])].set_index(where)
    rows = rows.join(floors[["cycles", "temporaries"]].add_prefix("least "), on=where)
    elements = [math.prod(map(int, shape.split("x"))) for shape in rows["shape"]]
    cycles = rows.cycles + rows.bundles.fillna(0)
    rows["ratio"] = cycles / rows["least cycles"]
    rows["bits"] = 8 * (rows.temporaries - rows["least temporaries"]) / elements
    return rows.fillna({"rate": 0})


def tables(rows: pd.DataFrame, sources: Any) -> dict[str, str]:
    """The tables of the page."""
    failed, family = rows[rows.failure != ""], rows[rows.part == "family"]
    both = rows[rows.part != "family"]
    cuts = both["case"].isin([case for case, *_ in CUTS])
    rows = both[both.part != "kernel"]
    cut = cuts[rows.index]
    gpu = rows.section == "h100"
    tpu = rows[~gpu & ~cut & (rows.rate > 0)]
    large = (rows["shape"] == LARGE[0]) & (rows.dtype == "float32")
    leaders = rows.name.isin([JDROP, FLAX, RBG, BITS]) & (rows["case"] == "forward")
    columns = ["kernels", "launches", "whiles", "instructions", "bits"]
    frames = {
        "targets": targets(rows),
        "cycles": across(tpu, "ratio"),
        "temporaries": across(tpu, "bits"),
        "gpu": rows[gpu & ~cut][[*INDEX, *columns]],
        "kernel": of_kernel(both[~cuts & (both.section != "h100")]),
        "kernel on h100": of_kernel_on_gpu(both[~cuts & (both.section == "h100")]),
        "copies": across(both[both.copies > 0], "copies"),
        "collectives": across(both[cuts], "collectives"),
        "seconds": across(rows[large & leaders], "seconds"),
        "family": of_family(family),
        "failures": failed[["section", *INDEX, "failure"]],
        "runs": records.runs(sources),
    }
    return {
        name: "None." if frame.empty else records.table(frame.astype(object).fillna(""))
        for name, frame in frames.items()
    }


def across(rows: pd.DataFrame, figure: str) -> pd.DataFrame:
    """A figure of each program, a column for each chip."""
    wide = rows.pivot(index=INDEX, columns="section", values=figure)
    chips = [chip for chip in TARGETS if chip in wide]
    return rows[INDEX].drop_duplicates().join(wide[chips], on=INDEX)


def of_kernel(rows: pd.DataFrame) -> pd.DataFrame:
    """A program a line: what the kernel and XLA take on each TPU, and the ratios."""
    own, program = rows[(rows.name == KERNEL) & (rows.kernels > 0)], INDEX[:-1]
    if own.empty:
        return own
    bundles, cycles = ((own[name] / 1000).map(_short) for name in ("bundles", "cycles"))
    wide = across(own.assign(sum=bundles + " + " + cycles), "sum")
    for chip in [chip for chip in TARGETS if chip in wide]:
        on_it = rows[rows.section == chip]
        ratios = on_it.pivot(index=program, columns="name", values="ratio")
        cells = [ratios[name].map(_short) for name in (KERNEL, JDROP, FLAX)]
        cells = [cell.replace("nan", "-") for cell in cells]
        texts = cells[0] + ", " + cells[1] + ", " + cells[2]
        place = wide.columns.get_loc(chip) + 1
        lines = wide[program].join(texts.rename("text"), on=program)
        wide.insert(place, f"{chip} ratios", lines.text)
    return wide.drop(columns="name")


def of_kernel_on_gpu(rows: pd.DataFrame) -> pd.DataFrame:
    """What an H100 is given with the kernel, and the instructions of the others."""
    program, name = INDEX[:-1], "instructions"
    others = rows.pivot(index=program, columns="name", values=name)[[JDROP, FLAX]]
    own = rows[rows.name == KERNEL].join(others, on=program)
    columns = [*program, "kernels", "launches", "bits", name, JDROP, FLAX]
    return own[own[name] != own[JDROP]][columns]


def _short(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"


def of_family(rows: pd.DataFrame) -> pd.DataFrame:
    """An op a line: what the TPUs' compilers make of it, and what an H100 is given."""
    rows, program = rows[rows.rate > 0], ["case", "name"]
    tpus, gpu = rows[rows.section != "h100"], rows[rows.section == "h100"]
    wide = across(tpus, "ratio").drop(columns=["dtype", "rate"])
    wide = wide.join(tpus.groupby(program)[["uncounted", "copies"]].max(), on=program)
    about = ["kernels", "launches", "whiles", "instructions", "bits"]
    return wide.join(gpu.set_index(program)[about], on=program)


def targets(rows: pd.DataFrame) -> pd.DataFrame:
    """What was wanted, and the most that was found on each chip, bold if too much."""
    lines = []
    for figure, case, rate, most, chips in WANTED:
        own = rows[(rows.name == JDROP) & (rows["case"] == case) & (rows.rate == rate)]
        if figure in ("cycles", "bits") and case != "MLP":
            own = own[own["shape"].isin(LARGE)]
        found = own.groupby("section")["ratio" if figure == "cycles" else figure].max()
        line = {"figure": figure, "case": case, "rate": rate, "at most": most}
        for chip in TARGETS:
            wanted = chip in chips.split() and chip in found
            mark = "**" if wanted and found[chip] > most else ""
            line[chip] = f"{mark}{found[chip]:.3g}{mark}" if wanted else ""
        lines.append(line)
    return pd.DataFrame(lines)


def write() -> None:
    """Writes the page."""
    blocks = tables(load(), records.read_sources(RESULTS))
    PAGE.write_text(records.fill(PAGE.read_text(), blocks))


if __name__ == "__main__":
    write()
