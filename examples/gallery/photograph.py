"""A photograph, to be dropped from: whole, in squares, or in channels."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

# Patches along each side; a square of the batch is two patches by two.
ROWS, COLUMNS = 8, 10


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


def cut(x: jax.Array, side: int) -> jax.Array:
    """Squares of a picture, row by row, along a new first axis."""
    rows, columns, channels = x.shape
    x = x.reshape(rows // side, side, columns // side, side, channels)
    return x.swapaxes(1, 2).reshape(-1, side, side, channels)


def joined(squares: jax.Array, columns: int | None = None) -> jax.Array:
    """The picture that was cut, or one that is as many squares wide."""
    count, side, _, channels = squares.shape
    columns = columns or round((count * COLUMNS / ROWS) ** 0.5)
    x = squares.reshape(count // columns, columns, side, side, channels)
    return x.swapaxes(1, 2).reshape(-1, columns * side, channels)


def channels(x: jax.Array) -> jax.Array:
    """Three channels that a first layer might make of a photograph, from 0.1 to 1."""
    grey = x.mean(axis=-1)
    edges = jnp.abs(jnp.diff(grey, axis=1, append=grey[:, -1:])) ** 0.5
    maps = jnp.stack([grey, x[..., 0] - x[..., 2], edges], axis=-1)
    low, high = maps.min((0, 1)), maps.max((0, 1))
    return 0.1 + 0.9 * (maps - low[None, None]) / (high - low)[None, None]
