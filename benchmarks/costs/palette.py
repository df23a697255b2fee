"""How the figures look: one style, and one colour for each contestant."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.costs.contestants import FLOOR, JDROP, NOTHING

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
}
# jdrop stands out; the two of Flax are related; all differ in grey as well.
COLOURS = {
    FLOOR: "#9a9a9a",
    NOTHING: "#9a9a9a",
    JDROP: "#c8102e",
    "flax.linen, threefry2x32": "#12486b",
    "flax.linen, philox4x32": "#5fa8d3",
    "flax.linen, rbg": "#88c9bf",
    "flax.nnx, threefry2x32": "#2a6f97",
    "equinox, threefry2x32": "#e9a23b",
    "haiku, threefry2x32": "#5b8c3a",
    "torch": "#7b5aa6",
}
NAMES = [name for name in COLOURS if name not in (FLOOR, NOTHING)]


def label(name: str) -> str:
    """A contestant's name in a legend: default keys go without saying."""
    return name.removesuffix(", threefry2x32").replace(", ", ", keys ")


def legend(figure: Figure, axes: Axes) -> None:
    """Explains the colours of a panel, above all panels."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), 4)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
