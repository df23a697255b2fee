"""The sound draw, and draws that are broken on purpose: the laws have to catch them."""

import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jdrop
from jdrop import _mask, _stream

Shape = tuple[int, ...]

Draw = Callable[..., Array]
"""(key, shape, rate, **part) -> packed words, in which a 1 bit is a kept element.

The part is the `offset` and the `within` of `jdrop.sample_mask`, or nothing.
"""


def sound(key: Array, shape: Shape, rate: Array, **part: Any) -> Array:
    """The words that the library draws."""
    return jdrop.sample_mask(key, shape, rate, **part).words


def altered(**names: Any) -> Draw:
    """A draw of another stream: the pinned one, with some of its names replaced."""

    def draw(key: Array, shape: Shape, rate: Array, **part: Any) -> Array:
        # The untraced function: what is cached under `sample_mask` stays sound.
        untraced = mock.patch.object(_mask, "_sample", _mask.draw_mask)
        with untraced, mock.patch.multiple(_stream, **names):
            return sound(key, shape, rate, **part)

    return draw


def few_rounds(rounds: int) -> Draw:
    """A draw whose block cipher has another number of rounds than the stream's 20."""
    weak = functools.partial(_stream.threefry2x32, rounds=rounds)
    return altered(threefry2x32=weak)


def repeated_row(key: Array, shape: Shape, rate: Array, **part: Any) -> Array:
    """Bit 20 of every word repeats bit 3."""
    words = sound(key, shape, rate, **part)
    repeated = ((words >> np.uint32(3)) & np.uint32(1)) << np.uint32(20)
    return (words & np.uint32(0xFFFFFFFF ^ 1 << 20)) | repeated


def rotated(key: Array, shape: Shape, rate: Array, **part: Any) -> Array:
    """Every second column is the one before it, each word of it rotated by 7 bits."""
    words = sound(key, shape, rate, **part)
    turned = (words << np.uint32(7)) | (words >> np.uint32(25))
    return _second_columns(words, turned)


def antithetic(key: Array, shape: Shape, rate: Array, **part: Any) -> Array:
    """Every second column takes 1 - U for the U of the one before it: too even."""
    words = sound(key, shape, rate, **part)
    return _second_columns(words, ~sound(key, shape, 1 - rate, **part))


def shared_keys(key: Array, shape: Shape, rate: Array, **part: Any) -> Array:
    """The lowest bit of the key is ignored: seeds 2 n and 2 n + 1 share their masks."""
    data = jax.random.key_data(key) & np.uint32(0xFFFFFFFE)
    return sound(jax.random.wrap_key_data(data), shape, rate, **part)


def coarse_rate(key: Array, shape: Shape, rate: Array, **part: Any) -> Array:
    """The rate is rounded to 8 binary digits, but not what is believed of it."""
    return sound(key, shape, jnp.round(rate * 256) / 256, **part)


def _second_columns(words: Array, others: Array) -> Array:
    """`words`, but in odd columns what `others` has one column before."""
    odd = np.arange(words.shape[-1]) % 2 == 1
    odd = odd.reshape((1,) * (words.ndim - 1) + odd.shape)
    return jnp.where(odd, jnp.roll(others, 1, axis=-1), words)


CONTROLS: dict[str, Draw] = {
    "4 rounds": few_rounds(4),
    "8 rounds": few_rounds(8),
    "12 rounds": few_rounds(12),
    # Digit pair d + 1 of a word is pair d of the next one along the first axis.
    "overlapping pairs": altered(PAIRS=1),
    "repeated row": repeated_row,
    "rotated columns": rotated,
    "antithetic columns": antithetic,
    "shared keys": shared_keys,
    "8-digit rate": coarse_rate,
}
"""Every broken draw by its name."""
