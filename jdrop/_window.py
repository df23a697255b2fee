"""A mask as a part of the mask of a larger array: which words it touches, and how.

Words hold 32 rows of the larger array, and the part may begin at any of them. Its own
words hold its row 0 in bit 0. So the words that it touches are brought into place by a
shift over neighbouring word rows or, where its rows are no neighbours in the larger
array, bit by bit.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop._arguments import as_offset, as_window, check_size, is_traced
from jdrop._draw import draw_words
from jdrop._stream import BITS, MAX_FIRST, MAX_OTHERS, Layout, Rate

# An index along an axis: a uint32 scalar, or None where it is known to be 0.
Index = ArrayLike | None


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("index",),
    meta_fields=("divisor", "within"),
)
@dataclasses.dataclass(frozen=True)
class Start:
    """Where a mask begins in the mask of a larger array.

    Attributes:
      index: Its first index along each leading axis; along the others it is 0.
      divisor: Along each of these the largest power of two up to 32 that is known to
        divide it.
      within: The shape of the larger array; None for that of the mask, but for axis 0,
        whose size plays no part.
    """

    index: tuple[Index, ...] = ()
    divisor: tuple[int, ...] = ()
    within: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls, offset: Any, shape: tuple[int, ...], dims: tuple[int, ...], within: Any
    ) -> "Start":
        """Checks an offset, and the size of the mask that begins there.

        Args:
          offset: An integer along axis 0, or with `within` one for each axis.
          shape: Shape of the mask.
          dims: Axes along which it is shared: it begins at 0 there.
          within: Shape of the larger array, or None.

        Returns:
          The start.
        """
        index: tuple[Any, ...]
        if within is None:
            index = as_offset(offset, shape)
        else:
            index, within = as_window(offset, shape, within)
            within = tuple(1 if i in dims else n for i, n in enumerate(within))
        index = tuple(np.uint32(0) if i in dims else n for i, n in enumerate(index))
        first = 0 if not index or is_traced(index[0]) else int(index[0])
        shared = tuple(1 if i in dims else n for i, n in enumerate(shape))
        _check_counters(within or shared, first + shared[0] if shared else 1)
        return cls(
            tuple(n if is_traced(n) or int(n) else None for n in index),
            tuple(1 if is_traced(n) else math.gcd(int(n), BITS) for n in index),
            within,
        )


def draw_part(
    key: jax.Array | None, shape: tuple[int, ...], start: Start, rate: Rate
) -> tuple[jax.Array, Layout]:
    """Draws the words of a mask that begins anywhere in that of a larger array.

    Args:
      key: A single key, or None where the rate is known to need none.
      shape: Shape of the mask.
      start: Where it begins.
      rate: The realised rate.

    Returns:
      The packed words, and their layout: that of the larger array, with the sizes of
      this one.
    """
    whole = Layout.of(start.within or shape)
    layout = whole.resized(shape)
    lead, after = len(whole.outer), len(whole.outer) + len(whole.rows)
    axes = max(len(shape), 1)
    index = [*start.index, *[None] * (axes - len(start.index))]
    divisor = [*start.divisor, *[BITS] * (axes - len(start.divisor))]
    steps = [math.prod(whole.rows[axis + 1 :]) for axis in range(len(whole.rows))]
    word_row, shift = _first_row(index[lead:after], divisor[lead:after], steps)
    column = index[after] if axes > after else None
    last = sum((n - 1) * step for n, step in zip(layout.rows, steps, strict=True))
    touched = (last if shift is None else last + BITS - 1) // BITS + 1
    sizes = (*layout.outer, touched, layout.columns)
    first = (*index[:lead], word_row, column)
    words = draw_words(key, sizes, first, whole.words, rate)
    if layout.rows[1:] != whole.rows[1:]:
        return _gather_rows(words, layout, steps, shift), layout
    return words if shift is None else _shift_rows(words, layout, shift), layout


def _check_counters(whole: tuple[int, ...], end: Any) -> None:
    """Raises unless the stream has counters for the words up to an end along axis 0."""
    layout = Layout.of(whole)
    if not layout.outer:
        end = -(-end * math.prod(layout.rows[1:]) // BITS)
    check_size(end, math.prod(layout.words[1:]), MAX_FIRST, MAX_OTHERS)


def _first_row(
    index: list[Index], divisor: list[int], steps: list[int]
) -> tuple[Index, Index]:
    """The word row and the bit in it of the first row of a part.

    Args:
      index: First index along each row axis.
      divisor: What is known to divide it.
      steps: Rows from one index along the axis to the next, 31 at most.

    Returns:
      Both as None where they are known to be 0.
    """
    if all(i is None for i in index):
        return None, None
    word, bit = jnp.uint32(0), jnp.uint32(0)
    for i, step in zip(index, steps, strict=True):
        if i is None:
            continue
        # A number of rows may be up to 2^37, so its words are counted apart.
        i, step = jnp.asarray(i), jnp.uint32(step)
        word = word + i // np.uint32(BITS) * step
        bit = bit + i % np.uint32(BITS) * step
    word = word + bit // np.uint32(BITS)
    is_aligned = all(
        i is None or (isinstance(step, int) and n * step % BITS == 0)
        for i, n, step in zip(index, divisor, steps, strict=True)
    )
    return word, None if is_aligned else bit % np.uint32(BITS)


def _shift_rows(words: jax.Array, layout: Layout, shift: ArrayLike) -> jax.Array:
    """Moves bit `shift` of each word row to bit 0, and the next row's bits in above."""
    count = layout.words[-2]
    low = words[..., :count, :] >> shift
    high = words[..., 1 : count + 1, :]
    missing = [(0, 0)] * words.ndim
    missing[-2] = (0, count - high.shape[-2])
    high = jnp.pad(high, missing) << np.uint32(1) << (np.uint32(BITS - 1) - shift)
    return low | high


def _gather_rows(
    words: jax.Array, layout: Layout, steps: list[int], shift: Index
) -> jax.Array:
    """Packs the rows of a part that are no neighbours in the larger array."""
    row = jnp.uint32(0) if shift is None else jnp.asarray(shift)
    for axis, step in enumerate(steps):
        iota = lax.broadcasted_iota(jnp.uint32, layout.rows, axis)
        row = row + iota * jnp.uint32(step)
    row = row.reshape(-1)
    bits = jnp.take(words, row // np.uint32(BITS), axis=-2)
    bits = (bits >> (row % np.uint32(BITS))[:, None]) & np.uint32(1)
    count = layout.words[-2]
    missing = [(0, 0)] * bits.ndim
    missing[-2] = (0, count * BITS - bits.shape[-2])
    bits = jnp.pad(bits, missing).reshape(*layout.outer, count, BITS, layout.columns)
    along = (1,) * (bits.ndim - 2) + (BITS, 1)
    bit = lax.broadcasted_iota(jnp.uint32, along, bits.ndim - 2)
    return (bits << bit).sum(axis=-2, dtype=jnp.uint32)
