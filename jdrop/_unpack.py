"""Words unpacked, and a law applied to each element and its bit."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jdrop._jet import is_in_jet
from jdrop._sharding import is_explicit, placed_like
from jdrop._stream import BITS, Layout


def unpack(words: jax.Array, layout: Layout) -> jax.Array:
    """One bool an element, of shape (outer..., rows, columns)."""
    if _divides(layout):
        rows = BITS * words.shape[-2]
        return _bits(words).reshape(*layout.outer, rows, layout.columns)
    # Of words that are gathered each device draws as many as it needs. Of a slice of
    # all bits they would exchange some, where a mesh cuts the rows
    # (test_no_cut_makes_devices_speak).
    return unpack_rows(words, lax.iota(jnp.uint32, math.prod(layout.rows)))


def unpack_rows(words: jax.Array, rows: jax.Array) -> jax.Array:
    """One bool an element of the rows of these numbers, in their order."""
    of_rows = jnp.take(words, rows // np.uint32(BITS), axis=-2, mode="clip")
    axes = (*range(words.ndim - 2), words.ndim - 1)
    return _is_set(of_rows, lax.expand_dims(rows % np.uint32(BITS), axes))


def over_bits(
    law: Callable[..., jax.Array],
    words: jax.Array,
    layout: Layout,
    shape: tuple[int, ...],
    x: jax.Array,
    *others: jax.Array,
) -> jax.Array:
    """Applies a law of each element and its bit.

    Args:
      law: Takes bools and arrays of the same shape, or of one that they broadcast to,
        and returns an array like these.
      words: The packed words of a mask.
      layout: Their layout.
      shape: The shape of the mask, which broadcasts to that of x.
      x: Array.
      *others: More arrays of the shape of x.

    Returns:
      An array like x.
    """

    def by_element(words: jax.Array, *arrays: jax.Array) -> jax.Array:
        return law(placed_like(x, unpack(words, layout).reshape(shape)), *arrays)

    def by_word(words: jax.Array, *arrays: jax.Array) -> jax.Array:
        blocks = (*layout.words[:-1], BITS, layout.columns)
        # Without the barrier the reshape moves to the bits, which are then written out,
        # 32 times the size of the words.
        arrays = lax.optimization_barrier(tuple(y.reshape(blocks) for y in arrays))
        return law(_bits(words), *arrays).reshape(shape)

    # Of a reshape JAX cannot tell the placement, where types hold it.
    has_blocks = shape == x.shape and _divides(layout)
    if not has_blocks or is_explicit(x) or is_in_jet(x, others):
        return by_element(words, x, *others)
    y: jax.Array = lax.platform_dependent(
        words, x, *others, tpu=by_word, default=by_element
    )
    return y


def _divides(layout: Layout) -> bool:
    rows = math.prod(layout.rows)
    return isinstance(rows, int) and rows % BITS == 0


def _bits(words: jax.Array) -> jax.Array:
    """One bool an element, of shape (outer..., word rows, 32, columns)."""
    axis = words.ndim - 1
    along = (1,) * axis + (BITS, 1)
    bit = lax.broadcasted_iota(jnp.uint32, along, axis)
    return _is_set(words[..., None, :], bit)


def _is_set(words: jax.Array, bit: jax.Array) -> jax.Array:
    """Whether words have a 1 in a place."""
    return (words >> bit) & np.uint32(1) != 0
