"""The tables of `docs/performance.md` and its picture, `docs/cost.png`.

    python -m benchmarks.performance

makes them of what `benchmarks.speed` and `benchmarks.compiled` recorded; it measures
nothing.
"""

import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from PIL.PngImagePlugin import PngInfo

from benchmarks import records
from benchmarks.compiled import page as compiled
from benchmarks.compiled.programs import KERNEL, RBG
from benchmarks.compiled.targets import TPUS
from benchmarks.contestants import FLAX, FLOOR, JDROP, TORCH
from benchmarks.plots import SHADES, STYLE, bars, newest, save
from benchmarks.table import names

PAGE = records.ROOT / "docs" / "performance.md"
PICTURE = PAGE.with_name("cost.png")

PHILOX = "flax.linen, philox4x32"
# By name, what a reader calls them; the others are left out.
CALLED = {
    JDROP: "jdrop",
    KERNEL: "jdrop's kernel",
    FLAX: "flax",
    PHILOX: "flax, philox keys",
    RBG: "flax, rbg keys",
    "equinox, threefry2x32": "equinox",
    "haiku, threefry2x32": "haiku",
    TORCH: "torch",
}
DRAWN = (JDROP, FLAX, PHILOX, TORCH)
LARGE, UNEVEN = "4096x4096", "640x28x28x32"
# By case that is shown of a TPU, the shape of x.
COMPILED = {
    "forward": LARGE,
    "pullback": LARGE,
    "MLP": "8192x4096",
    "MLP pullback": "8192x4096",
    "attention": "8x16x1024x1024",
}
ABOUT = ["case", "dtype", "rate"]
RATES = (0.1, 0.5)


def load() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was measured on a CPU, and what was read off compiled programs."""
    rows = records.read(newest(records.RESULTS))
    return rows.assign(name=names(rows)), compiled.load()


def panels(speed: pd.DataFrame, programs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The bars of the picture by the title of a panel: who, by rate."""
    forward = on_a_cpu(speed).xs("float32", level="dtype")
    found = {
        f"CPU, run, {state} memory\ntimes x * c": forward.xs(state, level="memory")
        for state in ("warm", "fresh")
    }
    found = {title: wide.loc[list(RATES), DRAWN].T for title, wide in found.items()}
    programs = programs[(programs["case"] == "forward") & (programs.dtype == "float32")]
    programs = programs[programs["shape"] == LARGE]
    tpus = programs[programs.section.isin(["v5e", "v6e"])]
    tpus = tpus[tpus.name.isin([JDROP, FLAX])].sort_values("section", kind="stable")
    tpus = tpus.assign(name=tpus.name.map(CALLED) + ", " + tpus.section)
    title = "TPU, compiled, not run\nestimated cycles, times x * c"
    found[title] = _by_rate(tpus, "ratio")
    gpu = programs[(programs.section == "h100") & (programs.rate > 0)]
    title = "GPU, compiled, not run\ninstructions an element, H100"
    found[title] = _by_rate(gpu, "instructions").loc[[JDROP, KERNEL, FLAX, RBG]]
    return {title: table.rename(index=CALLED) for title, table in found.items()}


def on_a_cpu(speed: pd.DataFrame) -> pd.DataFrame:
    """A forward pass to `x * c`: a line a dtype, state of memory and rate."""
    rows = speed[(speed.section == "ops") & (speed.case == "forward")]
    rows = rows[(rows["shape"] == LARGE) & (rows.metric == "ratio")]
    rows = rows[rows.name.isin(list(CALLED)) & (rows.name != RBG)]
    index = ["dtype", "memory", "rate"]
    wide = rows.pivot(index=index, columns="name", values="value")
    lines = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    return wide.loc[lines, [name for name in CALLED if name in wide]]


def _by_rate(rows: pd.DataFrame, figure: str) -> pd.DataFrame:
    wide = rows.pivot(index="name", columns="rate", values=figure)
    return wide.loc[rows["name"].unique(), list(RATES)]


def draw(speed: pd.DataFrame, programs: pd.DataFrame, path: Path) -> None:
    """Draws what a dropout of float32 4096x4096 costs on CPU, TPU and GPU."""
    found = panels(speed, programs)
    floor = programs[(programs.section == "h100") & (programs.name == FLOOR)]
    floor = floor[(floor["shape"] == LARGE) & (floor.dtype == "float32")]
    instructions = float(floor[floor["case"] == "forward"].instructions.iloc[0])
    with matplotlib.rc_context(STYLE | {"font.size": 13, "figure.dpi": 160}):
        about = PngInfo()
        about.add_text("figures", figures(found))
        save(_figure(found, [1, 1, 1, instructions]), path, about)


def figures(found: dict[str, pd.DataFrame]) -> str:
    """What a picture shows, as text that it carries."""
    return json.dumps([[title, table.to_dict()] for title, table in found.items()])


def _figure(found: dict[str, pd.DataFrame], floors: list[float]) -> Figure:
    figure, _ = plt.subplots(2, 2, figsize=(9, 7.6))
    for axes, floor, (title, table) in zip(
        figure.axes, floors, found.items(), strict=True
    ):
        table = table.add_prefix("rate ")
        table.index = table.index.str.replace(", ", "\n")
        bars(axes, table, "%.3g", SHADES)
        axes.axvline(floor, color="#c8102e", linewidth=2)
        axes.set_xlabel(title.partition("\n")[2])
        axes.set_title(title.partition("\n")[0], fontsize=14, fontweight="bold")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    handles.append(figure.axes[0].lines[0])
    title = "One dropout of float32 4096x4096, and x * c"
    figure.suptitle(title, fontsize=15, fontweight="bold")
    figure.legend(handles, [*labels, "x * c"], loc="outside lower center", ncols=3)
    return figure


def tables(speed: pd.DataFrame, programs: pd.DataFrame) -> dict[str, str]:
    """The tables of the page."""
    cpu = on_a_cpu(speed).reset_index()
    frames = {
        "cpu": cpu[cpu.dtype != "float16"].rename(columns=CALLED),
        "kept": kept(speed),
        "steps": steps(speed),
        "tpu": on_a_tpu(programs),
        "gpu": on_a_gpu(programs),
    }
    return {
        name: records.table(frame.astype(object).fillna(""))
        for name, frame in frames.items()
    }


def kept(speed: pd.DataFrame) -> pd.DataFrame:
    """Bits an element that a jitted dropout keeps for its backward pass."""
    rows = speed[(speed.section == "memory") & (speed.case == "residual")]
    rows = rows[rows.name.isin(list(CALLED)) & rows["shape"].isin([LARGE, UNEVEN])]
    wide = rows.pivot(index=["shape", "dtype"], columns="name", values="value")
    lines = pd.MultiIndex.from_frame(rows[["shape", "dtype"]].drop_duplicates())
    wide = 8 * wide.loc[lines, [name for name in CALLED if name in wide]]
    return wide.rename(columns=CALLED).reset_index()


def steps(speed: pd.DataFrame) -> pd.DataFrame:
    """Percent that dropout adds to a training step, with the quartiles of jdrop's."""
    rows = speed[(speed.section == "train_step") & (speed.metric == "ratio")]
    rows, index = rows[rows.name.isin(list(CALLED))], ["case", "rate"]
    low, middle, high = (
        (100 * (rows[end] - 1)).map("{:.0f}".format) for end in ("low", "value", "high")
    )
    quartiles = (" (" + low + " to " + high + ")").where(rows.name == JDROP, "")
    rows = rows.assign(text=middle + quartiles)
    wide = rows.pivot(index=index, columns="name", values="text")
    lines = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    wide = wide.loc[lines, [name for name in CALLED if name in wide]]
    return wide.rename(columns=CALLED).reset_index()


def on_a_tpu(programs: pd.DataFrame) -> pd.DataFrame:
    """Cycles to those without dropout: jdrop's, without its kernel, and flax's."""
    rows = programs[programs["case"].isin(list(COMPILED)) & (programs.part != "family")]
    rows = rows[rows["shape"] == rows["case"].map(COMPILED)]
    rows = rows[rows.section != "h100"]
    wide = compiled.across(rows[rows.name == JDROP], "ratio")
    own, flax = (
        compiled.across(rows[rows.name == name], "ratio").set_index(ABOUT)[list(TPUS)]
        for name in (JDROP, FLAX)
    )
    flax = flax.reindex(own.index)
    cells = own.map("{:.3g}".format) + " / " + flax.map("{:.3g}".format)
    cells = cells.replace(" / nan", "", regex=True)
    return wide[ABOUT].join(cells, on=ABOUT)


def on_a_gpu(programs: pd.DataFrame) -> pd.DataFrame:
    """Machine instructions an element on an H100."""
    rows = programs[(programs.section == "h100") & (programs.part != "family")]
    rows = rows[rows["case"].isin(["forward", "pullback"]) & (rows["shape"] == LARGE)]
    columns = {FLOOR: FLOOR, **CALLED}
    rows = rows[rows.name.isin(list(columns))]
    wide = rows.pivot(index=ABOUT, columns="name", values="instructions")
    floors = wide[FLOOR].groupby(level=["case", "dtype"]).max()
    wide = wide.drop(index=0, level="rate").drop(columns=FLOOR)
    wide = wide.sort_index(ascending=[True, False, True])
    wide = wide.join(floors)[[name for name in columns if name in [*wide, FLOOR]]]
    return wide.rename(columns=CALLED).reset_index()


def main() -> None:
    """Draws the picture and writes the tables."""
    # Without a display.
    matplotlib.use("agg")
    speed, programs = load()
    draw(speed, programs, PICTURE)
    PAGE.write_text(records.fill(PAGE.read_text(), tables(speed, programs)))
    print(PICTURE, PAGE, sep="\n")


if __name__ == "__main__":
    main()
