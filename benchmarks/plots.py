"""The figures and the table of a run: `python -m benchmarks.plots [run.csv]`.

Without a file it takes the newest run among the results, and also writes its tables,
of the targets, the family and the trainer, into `docs/speed.md`. It writes a PNG for
each figure to `docs/speed/`, or to `--out`, and prints the paths.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks import records
from benchmarks.contestants import NOTHING
from benchmarks.records import device_name, read, read_sources
from benchmarks.table import names
from benchmarks.targets import family, headline, trainers

PAGE = records.ROOT / "docs" / "speed.md"
FOLDER = PAGE.with_suffix("")
# jdrop stands out; those of Flax are related; all differ in grey as well.
COLOURS = {
    "jdrop": "#c8102e",
    "flax.linen": "#12486b",
    "flax.linen, philox4x32": "#5fa8d3",
    "flax.nnx": "#2a6f97",
    "equinox": "#e9a23b",
    "haiku": "#5b8c3a",
    "torch": "#7b5aa6",
    NOTHING: "#9a9a9a",
}
SHADES = ["#12486b", "#5fa8d3"]
STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
}


def cost(rows: pd.DataFrame) -> Figure:
    """A forward pass as a multiple of `x * c`, by rate and state of memory."""
    rows = rows[(rows.section == "ops") & (rows.case == "forward")]
    rows = rows[(rows["shape"] == rows["shape"].iloc[0]) & (rows.dtype == "float32")]
    rows = rows[(rows.metric == "ratio") & rows.rate.isin([0.1, 0.5])]
    states = list(rows.memory.unique())
    figure, panels = plt.subplots(1, len(states), figsize=(9, 3.8), sharex=True)
    for axes, state in zip(figure.axes, states, strict=True):
        table = _table(rows[rows.memory == state], "rate").add_prefix("rate ")
        # Who was timed at both rates.
        _bars(axes, table.dropna(), "%.1f", SHADES)
        axes.axvline(1, color="#c8102e", linewidth=1)
        axes.set(title=f"{state} memory", xlabel="times as long as x * c (red line)")
    title = "What dropout costs beside one multiplication of the array"
    figure.suptitle(f"{title}, float32 {rows['shape'].iloc[0]}")
    return figure


def steps(rows: pd.DataFrame) -> Figure:
    """What dropout adds to a training step, a panel for each rate."""
    rows = rows[(rows.section == "train_step") & (rows.metric == "ratio")]
    rows = rows[rows.contestant != NOTHING]
    rates = list(rows.rate.unique())
    figure, _ = plt.subplots(1, len(rates), figsize=(9, 5), sharey=True)
    for axes, rate in zip(figure.axes, rates, strict=True):
        table = 100 * (_table(rows[rows.rate == rate], "case").T - 1)
        table.index = table.index.str.replace(", ", "\n")
        _bars(axes, table, "", [COLOURS[name] for name in table])
        axes.set(title=f"rate {rate:g}", xlabel="% added to the step without dropout")
    return figure


def memory(rows: pd.DataFrame) -> Figure:
    """Bytes kept for the backward pass, and temporary memory of a training step."""
    kept = rows[(rows.section == "memory") & (rows.case == "residual")]
    kept = kept[kept["shape"] == kept["shape"].iloc[0]]
    scanned = rows[(rows.section == "memory") & rows.case.str.endswith("in a scan")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4))
    _bars(left, _table(kept, "dtype"), "%.3g", SHADES)
    left.set(title="kept for the backward pass", xlabel="bytes an element")
    _bars(right, _table(scanned, "metric") / 2**20, "%.0f", SHADES)
    right.set(title=f"a step of {scanned.case.iloc[0]}", xlabel="MiB")
    return figure


def sizes(rows: pd.DataFrame) -> Figure:
    """The ratio to `x * c` by number of elements."""
    rows = rows[(rows.section == "growth") & (rows.metric == "ratio")]
    table = _table(rows, "shape").T
    table.index = [math.prod(map(int, shape.split("x"))) for shape in table.index]
    figure, axes = plt.subplots(figsize=(8, 3.8))
    table.rename_axis(columns=None).plot(
        ax=axes, loglog=True, marker="o", color=[COLOURS[name] for name in table]
    )
    axes.axhline(1, color="#333333", linewidth=1)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(title="float32, rate 0.1", xlabel="elements", ylabel="times x * c")
    return figure


FIGURES: dict[str, tuple[str, Callable[[pd.DataFrame], Figure]]] = {
    "cost": ("ops", cost),
    "steps": ("train_step", steps),
    "memory": ("memory", memory),
    "sizes": ("growth", sizes),
}
"""By the end of a file's name: the section it needs, and what draws it."""

ALT = {
    "cost": "Bars: how many times as long as x * c a forward pass takes, by library",
    "steps": "Bars: what each library adds to a training step, in percent",
    "memory": "Bars: what each library keeps for the backward pass, and allocates",
    "sizes": "Lines: how many times as long as x * c, by number of elements",
}
"""What stands for a figure where it is not seen; the table above it has the numbers."""


def draw(path: Path, folder: Path) -> list[Path]:
    """Draws the figures of a run, a CSV, into a folder; returns their paths."""
    rows, drawn = read(path), []
    with matplotlib.rc_context(STYLE):
        for name, (section, function) in FIGURES.items():
            if (rows.section == section).any():
                figure = function(rows)
                figure.supxlabel(source(path), fontsize=8, color="#777777")
                drawn.append(folder / picture(path, name))
                save(figure, drawn[-1])
    return drawn


def save(figure: Figure, path: Path, about: PngInfo | None = None) -> None:
    """Writes a figure, with text about it if there is any, and lets go of it."""
    figure.savefig(path)
    plt.close(figure)
    # The few colours of a figure take a third of the room in a palette.
    few = Image.open(path).convert("RGB").quantize(64)
    few.save(path, pnginfo=about, optimize=True)


def picture(path: Path, name: str) -> str:
    """The file of a figure of a run."""
    return f"{path.stem.removeprefix('speed-')}-{name}.png"


def source(path: Path) -> str:
    """Where a run comes from, in a line: hardware, versions, commits, dates."""
    sections = read_sources(path).values()
    facts = (
        {device_name(section["hardware"]) for section in sections},
        {f"jax {section['versions']['jax']}" for section in sections},
        {f"jdrop at {section['commit']}" for section in sections},
        {section["date"] for section in sections},
    )
    return "; ".join(" and ".join(sorted(fact)) for fact in facts)


def block(path: Path) -> dict[str, str]:
    """The tables and the figures of a run, as the page shows them."""
    images = "\n".join(
        f"![{ALT[name]}]({FOLDER.name}/{picture(path, name)})" for name in FIGURES
    )
    rows = read(path)
    tables = {"family": family(rows), "trainer": trainers(rows)}
    absent = "Not measured yet: `python -m benchmarks.speed --only {}`."
    return {
        "results": f"{source(path)}:\n\n{records.table(headline(rows))}\n\n{images}",
        **{
            name: absent.format(name) if table.empty else records.table(table)
            for name, table in tables.items()
        },
    }


def newest(folder: Path) -> Path:
    """The run in a folder that was measured last.

    Raises:
      SystemExit: If there is none.
    """
    runs = list(folder.glob("speed-*.csv"))
    if not runs:
        sys.exit(f"No run in {folder}: run `python -m benchmarks.speed` first.")
    return max(runs, key=lambda run: max(s["date"] for s in read_sources(run).values()))


def main(words: list[str] | None = None) -> None:
    """Reads a run, and writes its figures and its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots")
    parser.add_argument("run", type=Path, nargs="?", help="what benchmarks.speed wrote")
    parser.add_argument("--out", type=Path, help="the folder where the figures go")
    options = parser.parse_args(words)
    path = options.run or newest(records.RESULTS)
    folder = options.out or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    # Without a display.
    matplotlib.use("agg")
    try:
        drawn = draw(path, folder)
    except (OSError, ValueError) as error:
        sys.exit(f"{path} is not a run of benchmarks.speed: {error}")
    if not options.run and not options.out:
        PAGE.write_text(records.fill(PAGE.read_text(), block(path)))
        drawn.append(PAGE)
    print(*drawn, sep="\n")


def _table(rows: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Figures with a line for each contestant that has a colour, in its order."""
    rows = rows.assign(name=names(rows).str.removesuffix(", threefry2x32"))
    order = [name for name in COLOURS if name in set(rows["name"])]
    values = rows.pivot(index="name", columns=columns, values="value")
    values.columns = values.columns.astype(str)
    return values.loc[order, rows[columns].astype(str).unique()]


def bars(axes: Axes, table: pd.DataFrame, fmt: str, colours: list[str]) -> None:
    """A group of bars for each line of a table, the first one on top."""
    table.plot.barh(ax=axes, width=0.8, color=colours, legend=False)
    if fmt:
        group: Any
        for group in axes.containers:
            axes.bar_label(group, fmt=fmt, padding=3, fontsize="small")
    axes.margins(x=0.14)
    if not axes.yaxis_inverted():  # Panels may share the axis.
        axes.invert_yaxis()
    axes.set_ylabel("")
    axes.grid(axis="y", visible=False)


def _bars(axes: Axes, table: pd.DataFrame, fmt: str, colours: list[str]) -> None:
    """Bars, and who is who."""
    bars(axes, table, fmt, colours)
    # Beneath the panel: bars may reach any corner of it.
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
    axes.legend(ncols=2, fontsize=9, **below)


if __name__ == "__main__":
    main()
