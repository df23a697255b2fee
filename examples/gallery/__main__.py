"""The pictures of the family's pages.

    python -m examples.gallery                     # writes docs/family/*.png
    python -m examples.gallery --out FOLDER --pixels 48

`family.png` has one panel an op; beside it is a picture for each page, named like it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import matplotlib.pyplot as plt

from examples.gallery import dropped, family, measured
from examples.gallery.panels import grid, save
from examples.gallery.photograph import ROWS, photograph

OUT = Path(__file__).parents[2] / "docs" / "family"


def main(words: Sequence[str] | None = None) -> None:
    """Draws the pictures, and prints where each is."""
    parser = argparse.ArgumentParser(prog="python -m examples.gallery")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder to write to")
    parser.add_argument("--pixels", type=int, default=96, help="height of a panel")
    options = parser.parse_args(words)
    if options.pixels < ROWS or options.pixels % ROWS:
        parser.error(f"--pixels is a multiple of {ROWS}; got {options.pixels}")
    plt.switch_backend("agg")
    key, x = jax.random.key(0), photograph("china.jpg", options.pixels)

    save(grid([*family.panels(options.pixels)], rows=3), options.out / "family.png")
    print(options.out / "family.png")
    for name, picture in dropped.PICTURES.items():
        rows, panels = picture(key, x)
        save(grid(panels, rows), options.out / f"{name}.png")
        print(options.out / f"{name}.png")
    for name, measure in measured.PICTURES.items():
        save(measure(key), options.out / f"{name}.png")
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
