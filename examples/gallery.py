"""What each op of the family does to a photograph, as one figure.

    python -m examples.gallery                     # writes docs/family.png
    python -m examples.gallery --out FILE --pixels 48

Most ops get the photograph itself, as pixels, as a batch of twenty squares, or as
eighty patches; the others a matrix of weights, or the attention of the patches to each
other. The key is fixed, so the figure is the same everywhere.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

import jdrop

OUT = Path(__file__).parents[1] / "docs" / "family.png"
# Patches along each side; a square of the batch is two patches by two.
ROWS, COLUMNS = 8, 10
FEATURES = 48


class Panel(NamedTuple):
    """A title, and pixels: colours from 0 to 1, or numbers for a colour map.

    In a colour map, zeros are black.
    """

    title: str
    pixels: jax.Array
    colours: str | None = None


def photograph(name: str, pixels: int) -> jax.Array:
    """The middle of a photograph of scikit-learn, as (rows, columns, 3) from 0 to 0.7.

    So that there is room for what is kept, which gets brighter.
    """
    whole = Image.fromarray(load_sample_image(name))
    width = whole.height * COLUMNS / ROWS
    left = (whole.width - width) / 2
    box = (left, 0, left + width, whole.height)
    size = (pixels * COLUMNS // ROWS, pixels)
    small = whole.resize(size, Image.Resampling.LANCZOS, box)
    return jnp.asarray(np.asarray(small), jnp.float32) * 0.7 / 255


def panels(pixels: int) -> Iterator[Panel]:
    """What each op makes of the photograph, first the photograph itself."""
    key, x = jax.random.key(0), photograph("china.jpg", pixels)
    side = pixels // ROWS
    squares, patches = cut(x, 2 * side), cut(x, side)
    mean, spread = x.mean(), x.std()

    def standard(x: jax.Array) -> jax.Array:
        return (x - mean) / spread

    yield Panel("the photograph", x)
    yield Panel("dropout, 0.3", jdrop.dropout(key, x, 0.3, broadcast_dims=(2,)))
    y = jdrop.alpha_dropout(key, standard(x), 0.3, broadcast_dims=(2,))
    yield Panel("alpha_dropout, 0.3", y * spread + mean)
    y = jdrop.feature_dropout(key, squares, 0.3)
    yield Panel("feature_dropout, 0.3", joined(y))
    y = jdrop.feature_alpha_dropout(key, standard(squares), 0.3)
    yield Panel("feature_alpha_dropout, 0.3", joined(y) * spread + mean)
    yield Panel("drop_path, 0.3", joined(jdrop.drop_path(key, squares, 0.3)))
    y = jdrop.drop_block(key, x[None], 0.3, block_size=side, per_channel=False)
    yield Panel("drop_block, 0.3", y[0])
    kept, indices = jdrop.token_dropout(key, patches[None], 0.5)
    yield Panel(
        "token_dropout, 0.5", joined(jnp.ones_like(patches).at[indices].set(kept))
    )
    y = jdrop.gaussian_dropout(key, x, 0.1)
    yield Panel("gaussian_dropout, 0.1", y)
    y = jdrop.gaussian_noise(key, x, 0.2)
    yield Panel("gaussian_noise, 0.2", y)
    y = jdrop.concrete_dropout(key, x, 0.3, temperature=2 / 3, broadcast_dims=(2,))
    yield Panel("concrete_dropout, 0.3", y)
    before = photograph("flower.jpg", pixels)
    y = jdrop.zoneout(key, x, before, 0.3, broadcast_dims=(2,))
    yield Panel("zoneout, 0.3", y)
    yield Panel("drop_connect, 0.3", weights(key), "RdBu")
    yield from attention(key, standard(patches).reshape(len(patches), -1))


def cut(x: jax.Array, side: int) -> jax.Array:
    """Squares of a picture, row by row, along a new first axis."""
    rows, columns, channels = x.shape
    x = x.reshape(rows // side, side, columns // side, side, channels)
    return x.swapaxes(1, 2).reshape(-1, side, side, channels)


def joined(squares: jax.Array) -> jax.Array:
    """The picture that was cut."""
    count, side, _, channels = squares.shape
    columns = round((count * COLUMNS / ROWS) ** 0.5)
    x = squares.reshape(count // columns, columns, side, side, channels)
    return x.swapaxes(1, 2).reshape(-1, columns * side, channels)


def weights(key: jax.Array) -> jax.Array:
    """A kernel, waves of growing frequency, and below it its bias, which is kept."""
    place, wave = np.arange(FEATURES)[:, None] + 0.5, np.arange(FEATURES)
    params = {
        "kernel": jnp.asarray(np.cos(np.pi / FEATURES * place * wave) / 2, jnp.float32),
        "bias": jnp.linspace(-1, 1, FEATURES),
    }
    dropped = jdrop.drop_connect(key, params, 0.3)
    bias = jnp.tile(dropped["bias"], (3, 1))
    return jnp.concatenate([dropped["kernel"], jnp.zeros((2, FEATURES)), bias])


def attention(key: jax.Array, tokens: jax.Array) -> Iterator[Panel]:
    """Which patch looks at which, as a part of the most that a patch looks at any.

    By blocks it is causal; with an identity as values the outputs are the weights.
    """
    heads, places = tokens[:, None], jnp.eye(len(tokens))[:, None]
    scale = 1 / tokens.shape[1]
    attended = jax.nn.softmax(scale * tokens @ tokens.T)
    y = jdrop.attention_dropout(key, attended[None], 0.3)
    yield Panel("attention_dropout, 0.3", y[0] / y[0].max(1, keepdims=True), "YlOrRd")
    y = jdrop.blockwise_attention(
        key, heads, heads, places, 0.3, scale=scale, is_causal=True, block_size=16
    )
    y = y[:, 0] / jnp.maximum(y[:, 0].max(1, keepdims=True), 1e-6)
    yield Panel("blockwise_attention, 0.3", y, "YlOrRd")


def draw(every: Sequence[Panel], out: Path) -> None:
    """Draws the panels in three rows, and writes a PNG of few colours."""
    height, width = every[0].pixels.shape[:2]
    columns = -(-len(every) // 3)
    # Whole pixels of the figure for each of the photograph, which compress well.
    across, down = (columns * (2 * width + 8)) / 100, (3 * (2 * height + 28)) / 100
    figure, axes = plt.subplots(3, columns, figsize=(across, down), dpi=100)
    for place, panel in zip(axes.flat, every, strict=True):
        pixels = np.asarray(panel.pixels)
        if panel.colours is None:
            place.imshow(pixels.clip(0, 1), interpolation="nearest")
        else:
            colours = plt.get_cmap(panel.colours).with_extremes(bad="black")
            shown = np.where(pixels == 0, np.nan, pixels)
            place.imshow(shown, cmap=colours, interpolation="nearest")
        place.set_title(panel.title, fontsize=10, pad=4)
        place.set_axis_off()
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.96, wspace=0.03, hspace=0.12)
    figure.savefig(out)
    plt.close(figure)
    Image.open(out).convert("RGB").quantize(128).save(out, optimize=True)


def main(words: Sequence[str] | None = None) -> None:
    """Draws the figure, and prints where it is."""
    parser = argparse.ArgumentParser(prog="python -m examples.gallery")
    parser.add_argument("--out", type=Path, default=OUT, help="the PNG to write")
    parser.add_argument("--pixels", type=int, default=96, help="height of a panel")
    options = parser.parse_args(words)
    if options.pixels < ROWS or options.pixels % ROWS:
        parser.error(f"--pixels is a multiple of {ROWS}; got {options.pixels}")
    plt.switch_backend("agg")
    draw([*panels(options.pixels)], options.out)
    print(options.out)


if __name__ == "__main__":
    main()
