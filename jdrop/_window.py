"""A mask as a part of the mask of a larger array: which words it touches, and how.

Words hold 32 rows of the larger array, and the part may begin at any of them. Its own
words hold its row 0 in bit 0. So the words that it touches are brought into place by a
shift over neighbouring word rows or, where its rows are no neighbours in the larger
array, bit by bit.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop._arguments import is_traced
from jdrop._axes import as_offset, as_window, check_size
from jdrop._draw import draw_words
from jdrop._stream import BITS, MAX_FIRST, MAX_OTHERS, Layout, Rate
from jdrop._unpack import unpack_rows

# An index along an axis, in uint32, or None where it is known to be 0.
Index = ArrayLike | None


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("index",),
    meta_fields=("is_aligned", "within"),
)
@dataclasses.dataclass(frozen=True)
class Start:
    """Where a mask begins in the mask of a larger array.

    Attributes:
      index: Its first index along each leading axis; along the others it is 0.
      is_aligned: Whether its first row is known to be the first of a word.
      within: The shape of the larger array; None for that of the mask, but for axis 0,
        whose size plays no part.
    """

    index: tuple[Index, ...] = ()
    is_aligned: bool = True
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
            within = shared(within, dims)
        index = tuple(np.uint32(0) if i in dims else n for i, n in enumerate(index))
        shape = shared(shape, dims)
        layout = Layout.of(within or shape)
        first = 0 if not index or is_traced(index[0]) else int(index[0])
        if 0 not in shape:
            _check_counters(layout, first + shape[0] if shape else 1)
        # Not strict: an offset has no index along other axes, and rows none of columns.
        in_rows = zip(index[len(layout.outer) :], layout.steps, strict=False)
        return cls(
            tuple(n if is_traced(n) or int(n) else None for n in index),
            all(not is_traced(n) and int(n) * step % BITS == 0 for n, step in in_rows),
            within,
        )


def shared(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a mask that is shared along some axes."""
    return tuple(1 if axis in dims else size for axis, size in enumerate(shape))


def draw_part(
    seed: jax.Array | None, shape: tuple[int, ...], start: Start, rate: Rate
) -> tuple[jax.Array, Layout]:
    """Draws the words of a mask that begins anywhere in that of a larger array.

    Args:
      seed: Two words, or None where the rate is known to need none.
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
    index = [*start.index, *[None] * (after + 1 - len(start.index))]
    word_row, bit = row_places(index[lead:after], whole.steps)
    shift = None if start.is_aligned else bit
    last = sum((n - 1) * step for n, step in zip(layout.rows, whole.steps, strict=True))
    touched = (last if shift is None else last + BITS - 1) // BITS + 1
    sizes = (*layout.outer, touched, layout.columns)
    first = (*index[:lead], word_row, index[after])
    words = draw_words(seed, sizes, first, whole.words, rate)
    if layout.rows[1:] != whole.rows[1:]:
        return _gather_rows(words, layout, whole.steps, shift), layout
    return words if shift is None else _shift_rows(words, layout, shift), layout


def row_places(index: Sequence[Index], steps: Sequence[int]) -> tuple[Index, Index]:
    """The word rows of rows, and their bits in them.

    Args:
      index: Index along each row axis: scalars, or arrays that broadcast.
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
    return word + bit // np.uint32(BITS), bit % np.uint32(BITS)


def _check_counters(layout: Layout, end: Any) -> None:
    """Raises unless the stream has counters for the words up to an end along axis 0."""
    if not layout.outer:
        end = -(-end * math.prod(layout.rows[1:]) // BITS)
    check_size(end, math.prod(layout.words[1:]), MAX_FIRST, MAX_OTHERS)


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
    words: jax.Array, layout: Layout, steps: Sequence[int], shift: Index
) -> jax.Array:
    """Packs the rows of a part that are no neighbours in the larger array."""
    row = jnp.uint32(0) if shift is None else jnp.asarray(shift)
    for axis, step in enumerate(steps):
        iota = lax.broadcasted_iota(jnp.uint32, layout.rows, axis)
        row = row + iota * jnp.uint32(step)
    bits = unpack_rows(words, row.reshape(-1)).astype(jnp.uint32)
    count = layout.words[-2]
    missing = [(0, 0)] * bits.ndim
    missing[-2] = (0, count * BITS - bits.shape[-2])
    bits = jnp.pad(bits, missing).reshape(*layout.outer, count, BITS, layout.columns)
    place = lax.broadcasted_iota(jnp.uint32, bits.shape, bits.ndim - 2)
    return (bits << place).sum(axis=-2, dtype=jnp.uint32)
