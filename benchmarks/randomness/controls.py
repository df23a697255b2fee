"""The sound draw, and draws that are broken on purpose: the laws have to catch them."""

import functools
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jdrop
from jdrop import _draw, _stream

Shape = tuple[int, ...]

Draw = Callable[[Array, Shape, Array, Array], Array]
"""(key, shape, rate, offset) -> packed words, in which a 1 bit is a kept element."""


def sound(key: Array, shape: Shape, rate: Array, offset: Array) -> Array:
    """The words that the library draws."""
    return jdrop.sample_mask(key, shape, rate, offset=offset).words


def few_rounds(rounds: int) -> Draw:
    """A draw whose block cipher has another number of rounds than the stream's 20."""
    weak = functools.partial(_stream.threefry2x32, rounds=rounds)

    def draw(key: Array, shape: Shape, rate: Array, offset: Array) -> Array:
        # Around the untraced function: what is cached under `sample_mask` stays sound.
        with mock.patch.object(_stream, "threefry2x32", weak):
            return _draw.draw_words(key, shape, _stream.Rate.of(rate), offset)

    return draw


def repeated_lane(key: Array, shape: Shape, rate: Array, offset: Array) -> Array:
    """Lane 20 of every word repeats lane 3."""
    words = sound(key, shape, rate, offset)
    repeated = ((words >> np.uint32(3)) & np.uint32(1)) << np.uint32(20)
    return (words & np.uint32(0xFFFFFFFF ^ 1 << 20)) | repeated


def shifted_lanes(key: Array, shape: Shape, rate: Array, offset: Array) -> Array:
    """Every second word is the one before it, rotated by 7 lanes."""
    words = sound(key, shape, rate, offset)
    rotated = (words << np.uint32(7)) | (words >> np.uint32(25))
    return _second_words(words, rotated)


def antithetic(key: Array, shape: Shape, rate: Array, offset: Array) -> Array:
    """Every second word takes 1 - U for the U of the one before it: too even."""
    words = sound(key, shape, rate, offset)
    return _second_words(words, ~sound(key, shape, 1 - rate, offset))


def shared_keys(key: Array, shape: Shape, rate: Array, offset: Array) -> Array:
    """The lowest bit of the key is ignored: seeds 2 n and 2 n + 1 share their masks."""
    data = jax.random.key_data(key) & np.uint32(0xFFFFFFFE)
    return sound(jax.random.wrap_key_data(data), shape, rate, offset)


def coarse_rate(key: Array, shape: Shape, rate: Array, offset: Array) -> Array:
    """The rate is rounded to 8 binary digits, but not what is believed of it."""
    return sound(key, shape, jnp.round(rate * 256) / 256, offset)


def _second_words(words: Array, others: Array) -> Array:
    """`words`, but at odd places of a row what `others` has one place before."""
    odd = np.arange(words.shape[-1]) % 2 == 1
    odd = odd.reshape((1,) * (words.ndim - 1) + odd.shape)
    return jnp.where(odd, jnp.roll(others, 1, axis=-1), words)


CONTROLS: dict[str, Draw] = {
    "4 rounds": few_rounds(4),
    "8 rounds": few_rounds(8),
    "12 rounds": few_rounds(12),
    "repeated lane": repeated_lane,
    "shifted lanes": shifted_lanes,
    "antithetic words": antithetic,
    "shared keys": shared_keys,
    "8-digit rate": coarse_rate,
}
"""Every broken draw by its name."""
