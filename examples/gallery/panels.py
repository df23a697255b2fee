"""Panels side by side, and a PNG of few colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Pixels of the figure that a panel is wide, or less.
PANEL = 240


class Panel(NamedTuple):
    """A title, and pixels: colours from 0 to 1, or numbers for a colour map.

    In a colour map, zeros are black.
    """

    title: str
    pixels: jax.Array
    colours: str | None = None


def grid(every: Sequence[Panel], rows: int) -> Figure:
    """A figure of the panels, row by row; the first is as large as all of them."""
    height, width = every[0].pixels.shape[:2]
    columns = -(-len(every) // rows)
    # Whole pixels of the figure for each of a panel, which compress well.
    side = max(1, PANEL // width)
    across, down = columns * (side * width + 8) / 100, rows * (side * height + 28) / 100
    figure, axes = plt.subplots(rows, columns, figsize=(across, down), dpi=100)
    for place, panel in zip(np.ravel(axes), every, strict=True):
        show(place, panel)
    top = 1 - 0.24 / down
    figure.subplots_adjust(0.005, 0.01, 0.995, top, wspace=0.03, hspace=0.12)
    return figure


def show(place: Axes, panel: Panel) -> None:
    """Draws one panel."""
    pixels = np.asarray(panel.pixels)
    if panel.colours is None:
        place.imshow(pixels.clip(0, 1), interpolation="nearest")
    else:
        colours = plt.get_cmap(panel.colours).with_extremes(bad="black")
        shown = np.where(pixels == 0, np.nan, pixels)
        place.imshow(shown, cmap=colours, interpolation="nearest")
    place.set_title(panel.title, fontsize=10, pad=4)
    place.set_axis_off()


def save(figure: Figure, out: Path) -> None:
    """Writes the figure, and lets go of it."""
    figure.savefig(out, dpi=100)
    plt.close(figure)
    Image.open(out).convert("RGB").quantize(128).save(out, optimize=True)
