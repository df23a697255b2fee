"""Other ways to apply packed words to an array, to be timed beside jdrop's own.

Each takes words of shape (rows, columns / 32), an array and a scale, and returns the
array scaled where a bit is 1 and zero elsewhere. All but "planes" give bit c mod 32 of
word c div 32 to column c, as jdrop does.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jdrop._stream import LANES

Apply = Callable[[jax.Array, jax.Array, np.float32], jax.Array]


def shifted(words: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Shifts a word to each lane and tests the lowest bit, as jdrop does."""
    parts = _parts(words, dtype)
    lane = lax.broadcasted_iota(dtype, (1, 1, _bits(dtype)), 2)
    return _rows(((parts[..., None] >> lane) & dtype.type(1)) != 0)


def masked(words: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Tests a word against the mask of each lane."""
    parts = _parts(words, dtype)
    lane = lax.broadcasted_iota(dtype, (1, 1, _bits(dtype)), 2)
    return _rows((parts[..., None] & (dtype.type(1) << lane)) != 0)


def repeated(words: jax.Array) -> jax.Array:
    """Repeats every word 32 times along its row, and shifts by the column."""
    wide = jnp.repeat(words, LANES, axis=1)
    column = lax.broadcasted_iota(jnp.uint32, wide.shape, 1)
    return ((wide >> (column % LANES)) & np.uint32(1)) != 0


def planes(words: jax.Array) -> jax.Array:
    """Lane by lane: the lane of column c is c div W, its word c mod W, of W words.

    Neighbours lie in different words, so a word can be loaded with its neighbours and
    needs no repeating. But the columns of a shard lie in every word.
    """
    lane = lax.broadcasted_iota(jnp.uint32, (1, LANES, 1), 1)
    return _rows(((words[:, None, :] >> lane) & np.uint32(1)) != 0)


def selecting(unpack: Callable[[jax.Array], jax.Array]) -> Apply:
    """Selects in float32, and rounds once."""

    def apply(words: jax.Array, x: jax.Array, scale: np.float32) -> jax.Array:
        scaled = x.astype(jnp.float32) * scale
        return jnp.where(unpack(words), scaled, np.float32(0)).astype(x.dtype)

    return apply


def multiplying(words: jax.Array, x: jax.Array, scale: np.float32) -> jax.Array:
    """Multiplies by the mask: a dropped NaN or infinity stays NaN."""
    kept = shifted(words, jnp.dtype("uint32")).astype(jnp.float32)
    return (x.astype(jnp.float32) * (kept * scale)).astype(x.dtype)


def clearing_bits(words: jax.Array, x: jax.Array, scale: np.float32) -> jax.Array:
    """Clears the bits of what is dropped, after rounding; it has no derivative."""
    unsigned = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    kept = shifted(words, jnp.dtype("uint32")).astype(unsigned)
    bits = lax.bitcast_convert_type(
        (x.astype(jnp.float32) * scale).astype(x.dtype), unsigned
    )
    return lax.bitcast_convert_type(bits & (unsigned.type(0) - kept), x.dtype)


def _unpacking(how: Callable[..., jax.Array], name: str) -> Apply:
    return selecting(lambda words: how(words, jnp.dtype(name)))


APPLIES: dict[str, Apply] = {
    "uint32, shift and test (jdrop)": _unpacking(shifted, "uint32"),
    "uint32, bit masks": _unpacking(masked, "uint32"),
    "uint16, shift and test": _unpacking(shifted, "uint16"),
    "uint8, shift and test": _unpacking(shifted, "uint8"),
    "uint8, bit masks": _unpacking(masked, "uint8"),
    "words repeated along the row": selecting(repeated),
    "planes": selecting(planes),
    "multiply by the mask": multiplying,
    "clear the bits": clearing_bits,
}


def _bits(dtype: jnp.dtype) -> int:
    return 8 * dtype.itemsize


def _parts(words: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The words cut into narrower ones, the lowest bits first."""
    if dtype.itemsize == 4:
        return words
    return _rows(lax.bitcast_convert_type(words, dtype))


def _rows(cube: jax.Array) -> jax.Array:
    return cube.reshape(cube.shape[0], -1)
