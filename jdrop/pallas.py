"""Dropout inside a Pallas kernel of one's own: the words of a tile, where it is used.

A fused kernel, such as that of attention, never has its weights in memory, nor their
mask. It draws the words of each tile where it needs them, and again in its backward
kernel. They are those of `sample_mask` of the whole array.

    seed = jdrop.pallas.seed(key)                  # outside: an argument of the kernel

    def kernel(seed, ...):                         # inside, at a tile of 256 x 512
        start = (batch, head, 256 * i, 512 * j)
        words = jdrop.pallas.tile_words(
            (seed[0], seed[1]), 0.1, start, (256, 512), within=(B, H, Q, K)
        )
        weights = jnp.where(jdrop.pallas.unpack(words), weights / keep, 0)

keep is 1 less the realised rate: `float(jdrop.pallas.keep(0.1))`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop import _arguments, _axes, _draw, _stream
from jdrop._keys import consume
from jdrop._stream import BITS, Layout, Rate

__all__ = ["keep", "seed", "tile_words", "unpack"]


def seed(key: jax.Array) -> jax.Array:
    """The seed of the words under a key, for kernels.

    seed = the words of the key, absorbed into 64 bits of the stream's own.

    Args:
      key: As in `jdrop.dropout`; it is consumed.

    Returns:
      uint32 array of shape (2,), which a kernel reads as two scalars.

    Raises:
      ValueError: If a batch of keys is given.
      TypeError: If it is not a key.

    References:
      `docs/stream.md`, section 4.

    Examples:
      >>> import jax, jdrop.pallas
      >>> jdrop.pallas.seed(jax.random.key(0)).shape
      (2,)
    """
    return _stream.mask_seed(consume(key))


def keep(rate: float) -> float:
    """The realised probability of keeping.

    keep = 1 - rate, with the rate rounded as in `jdrop.sample_mask`.

    Args:
      rate: Probability of dropping, a concrete real number in [0, 1].

    Returns:
      The number that what is kept is divided by.

    Raises:
      ValueError: If the rate is outside [0, 1] or NaN.
      TypeError: If it is traced, or not a real number.

    References:
      `docs/stream.md`, section 2.

    Examples:
      >>> import jdrop.pallas
      >>> jdrop.pallas.keep(0.1)
      0.899993896484375
    """
    return 1 - float(_concrete(rate).value)


def tile_words(
    seed: Sequence[jax.Array],
    rate: float,
    start: Sequence[ArrayLike],
    shape: tuple[int, int],
    *,
    within: Sequence[int],
) -> jax.Array:
    """The packed words of a tile of a mask; for use in a Pallas kernel.

    words = those of `sample_mask(key, within, rate)` that hold the tile.

    A tile has some rows and some columns, at one index of the axes before the rows. For
    most arrays the rows are the axis before the last; `docs/stream.md` says of any
    shape which axes are its rows, and tiles begin at a multiple of 32 of them.

    Args:
      seed: Two uint32 scalars, read from what `seed` returns.
      rate: Probability of dropping, a concrete real number in [0, 1].
      start: Index of the tile's first element along each axis of the whole array:
        integers, or integer scalars such as `pl.program_id(0)`.
      shape: Rows and columns of the tile.
      within: Shape of the whole array, of two axes or more.

    Returns:
      uint32 array of shape (ceil(rows / 32), columns): bit r mod 32 of word
      [r div 32, c] is 1 where the element at row r and column c of the tile is kept.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN, if the whole has fewer
        than two axes, if `start` has not one index for each of them, if `shape` is not
        of two, or if the tile is known to begin within a word.
      TypeError: If the rate is traced, or an argument is of the wrong kind.

    References:
      Salmon, Moraes, Dror and Shaw, 2011. Parallel random numbers: as easy as 1, 2, 3.
      https://doi.org/10.1145/2063384.2063405

    Examples:
      >>> import jax, jdrop.pallas
      >>> key, start = jax.random.key(0), (3, 64, 128)
      >>> seed = jdrop.pallas.seed(key)
      >>> shape = (8, 96, 256)
      >>> words = jdrop.pallas.tile_words(seed, 0.1, start, (32, 128), within=shape)
      >>> whole = jdrop.sample_mask(key, shape, 0.1)
      >>> print((words == whole.words[3, 2:3, 128:]).all())
      True
    """
    realised, whole = _concrete(rate), _axes.as_shape(within, "within")
    layout, sides = Layout.of(whole), _axes.as_shape(shape)
    if len(whole) < 2 or not isinstance(start, Sequence) or len(start) != len(whole):
        raise ValueError(
            "a tile begins at one index along each axis of a whole of two axes or "
            f"more; got start={start} and within={whole}. Pass the shape of the array "
            "that the mask is for, and as many indices."
        )
    if len(sides) != 2:
        raise ValueError(
            f"a tile has a shape of rows and columns; got {sides}. Pass two numbers, "
            "and the indices of the axes before them in start."
        )
    *places, column = (_as_uint32(index) for index in start)
    lead = len(layout.outer)
    row = jnp.uint32(0)
    for place, step in zip(places[lead:], layout.steps, strict=True):
        row = row + place * np.uint32(step)
    if not _arguments.is_traced(row) and int(row) % BITS:
        raise ValueError(
            f"a tile begins at a multiple of {BITS} rows, the first of a word; got row "
            f"{int(row)} of {whole}. Begin at {int(row) // BITS * BITS}."
        )
    sizes = -(-sides[0] // BITS), sides[1]
    words = row // np.uint32(BITS) + lax.broadcasted_iota(jnp.uint32, sizes, 0)
    columns = column + lax.broadcasted_iota(jnp.uint32, sizes, 1)
    index = [*places[:lead], words, columns]
    counter, other = _stream.counters(index, [None] * len(index), layout.words)
    threshold = lax.full((), int(_stream.threshold(realised.value)), jnp.uint32)
    kept = _draw.draw_tile(
        threshold, _two_words(seed), realised.pairs or 0, counter, other
    )
    kept = jnp.zeros_like(kept) if realised.value == 1 else kept
    # Where nothing is drawn, one word may stand for all.
    return jnp.broadcast_to(kept, sizes)


def unpack(words: jax.Array) -> jax.Array:
    """One bool an element of a tile of words.

    keep[r, c] = bit r mod 32 of word [r div 32, c].

    Args:
      words: What `tile_words` returns, of shape (rows / 32, columns).

    Returns:
      bool array of shape (rows, columns), True where an element is kept.

    Raises:
      TypeError: If the words are not a uint32 array of two axes.

    References:
      `docs/stream.md`, section 3.

    Examples:
      >>> import jax.numpy as jnp, jdrop.pallas
      >>> jdrop.pallas.unpack(jnp.array([[1, 2]], jnp.uint32))[:2].tolist()
      [[True, False], [False, True]]
    """
    if getattr(words, "dtype", None) != jnp.uint32 or words.ndim != 2:
        raise TypeError(
            "words are a uint32 array of shape (rows / 32, columns); got "
            f"{_arguments.describe(words)}. Pass what `tile_words` returns."
        )
    rows, columns = words.shape
    place = lax.broadcasted_iota(jnp.uint32, (rows, BITS, columns), 1)
    spread = jnp.broadcast_to(words[:, None, :], place.shape)
    bits = (spread >> place) & np.uint32(1)
    return bits.reshape(rows * BITS, columns) != np.uint32(0)


def _two_words(seed: Sequence[jax.Array]) -> list[jax.Array]:
    is_list = isinstance(seed, Sequence) or getattr(seed, "ndim", 0) == 1
    words = list(seed) if is_list else []
    if len(words) != 2 or any(jnp.result_type(word) != jnp.uint32 for word in words):
        raise TypeError(
            "seed is two uint32 scalars; got "
            f"{_arguments.describe(seed)}. Pass both of what `seed(key)` returns."
        )
    return words


def _concrete(rate: float) -> Rate:
    if _arguments.is_traced(rate):
        raise TypeError(
            "in a kernel the rate is a number, known when it is traced; got a traced "
            "one. Pass a Python number, or make it a static argument."
        )
    return Rate.of(_arguments.as_rate(rate))


def _as_uint32(index: ArrayLike) -> jax.Array:
    return jnp.asarray(index).astype(jnp.uint32)
