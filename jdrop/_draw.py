"""How a draw is scheduled: the same bits, by the quickest way.

Nothing here decides a bit; `_stream` does. A row's comparison U < rate is folded over
the digits, least significant first, for all rows of a word at once: where the digit of
the rate is 1 a row stays kept only if its own digit is 1 (`&`), where it is 0 a row
whose digit is 1 is kept whatever came before (`|`).
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop import _stream
from jdrop._stream import Rate

# `docs/draw.md` has the figures that these were chosen by, and
# `test_every_schedule_draws_the_same_words` crosses each of them.

PAIRS_A_PASS = 2
"""The most digit pairs that one pass over the words folds, on CPUs and TPUs.

More of them hardly save time, but take that of compilers: 18 s on a TPU for all 8 pairs
of a 16-digit rate in one pass, and 4 s for 2 at a time.
"""

SHORT_ROW = 8
"""Words to a vector register of common processors."""

ALL_KEPT = 0xFFFFFFFF

# Folds a digit pair into kept words: seed, kept, number of the pair, its block -> kept.
FoldPair = Callable[[jax.Array, jax.Array, ArrayLike, jax.Array, jax.Array], jax.Array]
Counters = Callable[..., tuple[jax.Array, jax.Array]]


def draw_words(
    seed: jax.Array | None,
    sizes: tuple[int, ...],
    first: Sequence[ArrayLike | None],
    whole: tuple[int, ...],
    rate: Rate,
) -> jax.Array:
    """Draws a part of the packed words of a mask; a 1 bit is a kept element.

    Args:
      seed: Two words, a uint32 array. None where the rate is known to have no digit:
        all is kept, or all dropped.
      sizes: The shape of the part.
      first: Along each axis the index of its first word in the whole; None for 0.
      whole: The shape of all the words.
      rate: The realised rate.

    Returns:
      uint32 array of shape `sizes`.
    """
    undrawn = jnp.where(rate.value == 1, jnp.uint32(0), jnp.uint32(ALL_KEPT))
    if seed is None or rate.pairs == 0 or _is_below(math.prod(sizes), 1):
        return jnp.broadcast_to(undrawn, sizes)
    threshold = jnp.asarray(_stream.threshold(rate.value))
    counters = functools.partial(_stream.counters, first=first, whole=whole)

    fold = functools.partial(fold_pair, threshold)
    # Inside shard_map the carry of a loop, and the branches for platforms, have to vary
    # over the mesh axes from the start
    # (test_shard_map_whose_arguments_vary_or_do_not).
    varying = functools.reduce(
        lambda bits, start: bits if start is None else bits ^ start,
        first,
        seed[0] ^ seed[1] ^ threshold,
    )
    nothing = varying & np.uint32(0)
    seed, kept = seed | nothing, jnp.full(sizes, ALL_KEPT, jnp.uint32) | nothing
    on_cpu = functools.partial(_draw_on_cpu, fold, counters, threshold)
    without_loop = functools.partial(_draw_without_loop, fold, counters)
    words: jax.Array = lax.platform_dependent(
        seed,
        kept,
        cpu=functools.partial(on_cpu, rate.pairs),
        tpu=functools.partial(without_loop, rate.pairs, PAIRS_A_PASS, along_axes),
        default=functools.partial(without_loop, rate.pairs, _stream.PAIRS, _one_by_one),
    )
    return words if rate.pairs else words & undrawn


def fold_pair(
    threshold: jax.Array,
    seed: Sequence[jax.Array] | jax.Array,
    kept: jax.Array,
    pair: ArrayLike,
    counter: jax.Array,
    other: jax.Array,
) -> jax.Array:
    """Folds a digit pair into kept words.

    Args:
      threshold: Of the rate, a uint32 scalar, as `_stream.threshold` has it.
      seed: Two words.
      kept: What the pairs after this one decided.
      pair: The number of the pair.
      counter: The counter of its block.
      other: The other counter.

    Returns:
      uint32 array of the shape of the words.
    """
    high, low = _stream.threefry2x32(seed[0], seed[1], counter, other)
    below = threshold >> (np.uint32(30) - np.uint32(2) * pair)
    kept = _fold(kept, low, below)
    return _fold(kept, high, below >> np.uint32(1))


def draw_tile(
    threshold: jax.Array,
    seed: Sequence[jax.Array],
    pairs: int,
    counter: jax.Array,
    other: jax.Array,
) -> jax.Array:
    """Draws words in a kernel, which keeps them in registers.

    Args:
      threshold: Of the rate, a uint32 scalar.
      seed: Two uint32 scalars.
      pairs: How many digit pairs the rate has.
      counter: Of the first digit pair of each word, as `_stream.counters` has it.
      other: The other counter of each word, of the same shape.

    Returns:
      uint32 array of the shape of the counters.
    """
    kept = lax.full_like(counter, ALL_KEPT)
    for pair in reversed(range(pairs)):
        at = counter + np.uint32(pair)
        kept = fold_pair(threshold, seed, kept, np.uint32(pair), at, other)
    return kept


def along_axes(sizes: tuple[int, ...]) -> Sequence[jax.Array]:
    """The indices of words, in small arrays, by which a mesh can cut each axis."""
    index = []
    for axis, size in enumerate(sizes):
        along = [1] * len(sizes)
        along[axis] = size
        index.append(lax.broadcasted_iota(jnp.uint32, along, axis))
    return index


def _draw_without_loop(
    fold: FoldPair,
    counters: Counters,
    pairs: int | None,
    group: int,
    index: Callable[[tuple[int, ...]], Sequence[jax.Array]],
    seed: jax.Array,
    kept: jax.Array,
) -> jax.Array:
    """For GPU and TPU, where a loop of hidden length would stall the host.

    The words of a traced rate are folded over all digits: those below its last 1 keep
    everything, and change nothing.
    """
    counter, other = counters(index(kept.shape))
    if pairs is None:

        def turn(i: jax.Array, kept: jax.Array) -> jax.Array:
            pair = (np.int32(_stream.PAIRS - 1) - i).astype(jnp.uint32)
            return fold(seed, kept, pair, counter + pair, other)

        return lax.fori_loop(np.int32(0), np.int32(_stream.PAIRS), turn, kept)
    for pair in reversed(range(pairs)):
        at = counter + np.uint32(pair)
        kept = fold(seed, kept, np.uint32(pair), at, other)
        if pair % group == 0 and pair > 0:
            kept = lax.optimization_barrier(kept)
    return kept


def _draw_on_cpu(
    fold: FoldPair,
    counters: Counters,
    threshold: jax.Array,
    pairs: int | None,
    seed: jax.Array,
    kept: jax.Array,
) -> jax.Array:
    """For CPUs: some digit pairs in each turn of a loop."""
    counter, other = counters(along_axes(kept.shape))
    # XLA vectorises along the last axis. Where that is short, the first one takes its
    # place while the words are drawn.
    transposed = _is_below(kept.shape[-1], SHORT_ROW)
    if transposed:
        counter, other, kept = counter.T, other.T, kept.T
    group = PAIRS_A_PASS if pairs is None else min(pairs, PAIRS_A_PASS)
    turns = (_stream.digit_pairs(threshold) + np.int32(group - 1)) // np.int32(group)
    # The counters of the pairs of a turn stand in one array: from one expression a
    # pair, XLA compiled a kernel a pair.
    of_pairs = counter[None] + lax.broadcasted_iota(
        jnp.uint32, (group, *[1] * counter.ndim), 0
    )

    # A loop keeps the words materialised: fused into their use, every element would
    # draw its word again. One that XLA knows to run once would be dissolved, so the
    # number of turns is hidden from it (test_the_draw_is_materialised). And the seed is
    # carried as if it changed, or its cipher would be compiled into all that use it.
    turns, nothing = lax.optimization_barrier((turns, jnp.uint32(0)))

    def turn(
        i: jax.Array, carry: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        kept, seed = carry
        first = ((turns - 1 - i) * np.int32(group)).astype(jnp.uint32)
        for pair in reversed(range(group)):
            at = of_pairs[pair] + first
            kept = fold(seed, kept, first + np.uint32(pair), at, other)
        return kept, seed | nothing

    words, _ = lax.fori_loop(np.int32(0), turns, turn, (kept, seed))
    return words.T if transposed else words


def _one_by_one(sizes: tuple[int, ...]) -> Sequence[jax.Array]:
    """The same of each word by its number: of small arrays a GPU gets small kernels."""
    if not _is_below(math.prod(sizes), 2**32):
        return along_axes(sizes)
    number = lax.iota(jnp.uint32, math.prod(sizes)).reshape(sizes)
    index = []
    for axis, size in enumerate(sizes):
        step = np.uint32(math.prod(sizes[axis + 1 :]))
        index.append(number // step % np.uint32(size))
    return index


def _fold(kept: jax.Array, digit: jax.Array, threshold: jax.Array) -> jax.Array:
    """One digit of U >= threshold: `kept & digit` where the threshold's bit is 1."""
    zero = (threshold & np.uint32(1)) - np.uint32(1)
    return (kept & digit) | (zero & (kept | digit))


def _is_below(size: Any, limit: int) -> bool:
    """Whether a size is known to be below a limit: in an export it may be a symbol."""
    return isinstance(size, int) and size < limit
