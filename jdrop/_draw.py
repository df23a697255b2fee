"""How a draw is scheduled: the same words on every path, by the quickest one.

Nothing here decides a bit; `_stream` does. A lane's comparison U < rate is folded over
the digits, least significant first, for all lanes of a word at once: where the digit of
the rate is 1 a lane stays kept only if its own digit is 1 (`&`), where it is 0 a lane
whose digit is 1 is kept whatever came before (`|`).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop import _stream
from jdrop._stream import Rate

# The limits were measured on CPUs; `docs/draw.md` has the figures, and
# `test_every_schedule_draws_the_same_words` crosses each of them.

WRITTEN_OUT = 8
"""The most digit pairs that are compiled into one pass: all of a 16-digit rate."""

FEW_WORDS = 1024
"""Below so many words, short passes are faster than one that starts threads."""

FEW_ROWS = 32
"""Below so many rows, the counters of one pass would be as large as its words."""

SHORT_ROW = 8
"""Words to a vector register of common processors."""

_ALL_KEPT = 0xFFFFFFFF

# Folds one digit pair: kept words, number of the pair, its counters -> kept words.
FoldPair = Callable[[jax.Array, ArrayLike, jax.Array], jax.Array]


def draw_words(
    key: jax.Array | None, shape: tuple[int, ...], rate: Rate, offset: ArrayLike
) -> jax.Array:
    """Draws the packed words of a mask; a 1 bit is a kept element.

    Args:
      key: A single key, typed or legacy. None where the rate is known to have no digit:
        all is kept, or all dropped.
      shape: Shape of the mask.
      rate: The realised rate.
      offset: Index of the first row along axis 0, uint32 scalar.

    Returns:
      uint32 array of shape `words_shape(shape)`.
    """
    packed = _stream.words_shape(shape)
    undrawn = jnp.where(rate.value == 1, jnp.uint32(0), jnp.uint32(_ALL_KEPT))
    if key is None or rate.pairs == 0 or _is_below(math.prod(packed), 1):
        return jnp.broadcast_to(undrawn, packed)
    seed = _stream.seed_words(key, _stream.WORDS_DOMAIN)
    threshold = jnp.asarray(_stream.threshold(rate.value))
    row, word = _stream.counters(packed, offset)
    few = _is_below(row.size, FEW_ROWS) or _is_below(row.size * word.size, FEW_WORDS)
    # XLA vectorises along the last axis. Where that is short, the first one takes its
    # place while the words are drawn.
    transposed = _is_below(word.size, SHORT_ROW)
    if transposed:
        packed, row, word = packed[::-1], row.T, word.T

    def fold_pair(kept: jax.Array, pair: ArrayLike, counter: jax.Array) -> jax.Array:
        high, low = _stream.threefry2x32(*seed, row, counter)
        below = threshold >> (np.uint32(30) - np.uint32(2) * pair)
        kept = _fold(kept, low, below)
        return _fold(kept, high, below >> np.uint32(1))

    # Inside shard_map the carry of a loop has to vary over the mesh axes from the start
    # (test_shard_map_whose_arguments_vary_or_do_not).
    varying = (seed[0] ^ seed[1] ^ offset ^ threshold) & np.uint32(0)
    kept = jnp.broadcast_to(undrawn | varying, packed)
    if rate.pairs is None or rate.pairs > WRITTEN_OUT or few:
        words = _in_turns(fold_pair, word, _stream.digit_pairs(threshold), kept)
    else:
        words = _at_once(fold_pair, word, rate.pairs, kept)
    return words.T if transposed else words


def _in_turns(
    fold_pair: FoldPair, counter: jax.Array, pairs: jax.Array, kept: jax.Array
) -> jax.Array:
    """Folds one pair of digits in each turn of a loop, the last pair first."""

    def turn(i: jax.Array, kept: jax.Array) -> jax.Array:
        pair = (pairs - 1 - i).astype(jnp.uint32)
        return fold_pair(kept, pair, counter + pair)

    return _loop(pairs, turn, kept)


def _at_once(
    fold_pair: FoldPair, counter: jax.Array, pairs: int, kept: jax.Array
) -> jax.Array:
    """Folds all pairs in one pass, in which a processor works on several blocks.

    Their counters stand in one array: from one expression a pair, XLA compiled a kernel
    a pair.
    """
    pair = lax.broadcasted_iota(jnp.uint32, (pairs, *[1] * counter.ndim), 0)
    of_pairs = counter[None] + pair

    def turn(i: jax.Array, kept: jax.Array) -> jax.Array:
        kept = jnp.full_like(kept, _ALL_KEPT)
        for pair in reversed(range(pairs)):
            # i is 0. It holds the pass inside the loop, where dropout of 4096 x 4096 at
            # rate 0.1 took 4 to 7 % less. The words are the same without it, so no test
            # guards it.
            at = lax.dynamic_index_in_dim(of_pairs, pair + i, keepdims=False)
            kept = fold_pair(kept, np.uint32(pair), at)
        return kept

    return _loop(jnp.int32(1), turn, kept)


def _loop(
    turns: jax.Array,
    turn: Callable[[jax.Array, jax.Array], jax.Array],
    kept: jax.Array,
) -> jax.Array:
    """A loop over words, whose number of turns is hidden from XLA.

    It keeps the words materialised: fused into their use, every element would draw its
    word again. A loop that XLA knows to run once would be dissolved
    (test_the_draw_is_materialised).
    """
    return lax.fori_loop(np.int32(0), lax.optimization_barrier(turns), turn, kept)


def _fold(kept: jax.Array, digit: jax.Array, threshold: jax.Array) -> jax.Array:
    """One digit of U >= threshold: `kept & digit` where the threshold's bit is 1."""
    zero = (threshold & np.uint32(1)) - np.uint32(1)
    return (kept & digit) | (zero & (kept | digit))


def _is_below(size: Any, limit: int) -> bool:
    """Whether a size is known to be below a limit: in an export it may be a symbol."""
    return isinstance(size, int) and size < limit
