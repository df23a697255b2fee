"""Masks of many keys at several rates, and the p-values of all laws over them."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd

import jdrop
from benchmarks.randomness import laws
from benchmarks.randomness.controls import Draw
from benchmarks.randomness.laws import BITS, Words
from jdrop._stream import MAX_FIRST, MAX_OTHERS


class Sizes(NamedTuple):
    """How much is drawn at each rate.

    Attributes:
      keys: Number of keys of large masks.
      shape: Shape of a large mask: outer, rows, columns.
      small_keys: Number of keys of small masks, for each way to derive keys.
      small_shape: Shape of a small mask: rows, columns.
      flipped_keys: Number of keys of which every bit is flipped.
    """

    keys: int
    shape: tuple[int, int, int]
    small_keys: int
    small_shape: tuple[int, int]
    flipped_keys: int


FULL = Sizes(1024, (8, 128, 256), 2**15, (64, 16), 4096)
SHORT = Sizes(128, (4, 64, 64), 2**11, (64, 4), 64)

CELL, WHOLE = (1, 32, 32), (MAX_FIRST, 32, MAX_OTHERS - 1)
"""A small part, in which every word has its column for a counter, and its whole."""

RATES = (0.5, 0.1, 0.25, 1 / 3, 0.9, 1 / 256, 1e-3)

# The longest run that is looked at; up to where every lag is, and beyond it powers of
# two; and how many seeds belong to each `seed` below: no two share a key.
LONGEST, ALL_LAGS, SEEDS = 16, 64, 2**20

Results = Iterator[tuple[str, float]]


def judge(
    draw: Draw, sizes: Sizes, rates: Sequence[float], seed: int = 1
) -> pd.DataFrame:
    """Applies every law at every rate.

    Args:
      draw: What draws the masks.
      sizes: How much of it.
      rates: Rates of dropping.
      seed: First of the seeds, one a rate, so that no two rates see the same digits.

    Returns:
      A row for each law (`test`) and rate (`parameter`), with its `p_value`.
    """
    rows = [
        (law, f"rate {rate:.4g}", p_value)
        for number, rate in enumerate(rates)
        for law, p_value in _judge_rate(Masks(draw, rate), sizes, seed + number)
    ]
    return pd.DataFrame(rows, columns=["test", "parameter", "p_value"])


class Masks:
    """Masks at one rate, in which a 1 bit is the rarer of dropped and kept.

    Attributes:
      realised: The rate that the library says it realises.
      p: The probability of a 1.
    """

    def __init__(self, draw: Draw, rate: float) -> None:
        """Masks that `draw` draws at the requested rate."""
        self._draw, self._rate = draw, rate
        self.realised = float(jdrop.sample_mask(jax.random.key(0), (1,), rate).rate)
        self.p = min(self.realised, 1 - self.realised)

    def sample(
        self,
        keys: jax.Array,
        shape: tuple[int, ...],
        start: npt.NDArray[np.uint32] | None = None,
    ) -> Words:
        """The words of a mask for each key, columns before word rows.

        It starts at the outer index and the column of `start` in one of shape `WHOLE`.
        """
        draw = _draw_many(self._draw, shape)
        kept = np.asarray(draw(keys, np.float32(self._rate), start))
        kept = np.ascontiguousarray(kept.swapaxes(-1, -2))
        return kept if self.realised > 0.5 else ~kept


@functools.cache
def _draw_many(draw: Draw, shape: tuple[int, ...]) -> Callable[..., jax.Array]:
    """Compiled once for all rates and starts."""

    def draw_one(key: jax.Array, rate: jax.Array, start: jax.Array | None) -> jax.Array:
        if start is None:
            return draw(key, shape, rate)
        return draw(key, shape, rate, offset=(start[0], 0, start[1]), within=WHOLE)

    return jax.jit(jax.vmap(draw_one, in_axes=(0, None, None)))


def consecutive_seeds(seed: int, number: int) -> jax.Array:
    """Keys of seeds that follow each other."""
    first = jnp.uint32(seed * SEEDS)
    return jax.vmap(jax.random.key)(first + jnp.arange(number, dtype=jnp.uint32))


def consecutive_folds(seed: int, number: int) -> jax.Array:
    """Keys of one key and numbers that follow each other, as a training loop has."""
    base = jax.random.key((seed + 1) * SEEDS - 1)
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return fold_in(base, jnp.arange(number, dtype=jnp.uint32))


def siblings(seed: int, number: int) -> jax.Array:
    """Keys of one split, of another key: JAX may split as it folds in."""
    return jax.random.split(jax.random.key((seed + 1) * SEEDS - 2), number)


def named(seed: int, number: int) -> jax.Array:
    """Keys by name of one key: of a layer, and steps that follow each other."""
    base = jax.random.key((seed + 1) * SEEDS - 3)
    steps = jnp.arange(number, dtype=jnp.uint32)
    return jax.vmap(lambda step: jdrop.key_for(base, "dropout", step))(steps)


FAMILIES = {
    "seeds": consecutive_seeds,
    "fold_in": consecutive_folds,
    "split": siblings,
    "key_for": named,
}
"""Ways to derive many keys, each from a seed and a number of keys."""


def flipped(keys: jax.Array) -> jax.Array:
    """Every key with one of its 64 bits flipped: shape (64, number of keys)."""
    low = np.uint32(1) << np.arange(32, dtype=np.uint32)
    zero = np.zeros_like(low)
    bits = np.concatenate([np.stack([low, zero], -1), np.stack([zero, low], -1)])
    return jax.random.wrap_key_data(jax.random.key_data(keys)[None] ^ bits[:, None])


def lags_to(all_to: int, size: int) -> list[int]:
    """1, 2, ..., all_to, and on in powers of two, below the size."""
    powers = [2**i for i in range(size.bit_length()) if all_to < 2**i < size]
    return [*range(1, min(all_to + 1, size)), *powers]


def _judge_rate(masks: Masks, sizes: Sizes, seed: int) -> Results:
    large, p = masks.sample(consecutive_folds(seed, sizes.keys), sizes.shape), masks.p
    yield from _counts(large, sizes, p)
    yield from _pairs(large, sizes, p)
    for line, words in ("column", large), ("row", laws.by_rows(large)):
        yield f"runs of dropped along a {line}", laws.runs(words, p, LONGEST)
        yield f"runs of kept along a {line}", laws.runs(~words, 1 - p, LONGEST)
    yield from _keys(masks, sizes, seed)
    yield from _flips(masks, sizes, seed)


def _counts(words: Words, sizes: Sizes, p: float) -> Results:
    """How many bits are 1: in all, at each place, and in blocks of many sizes."""
    _, rows, columns = sizes.shape
    in_words = np.bitwise_count(words).astype(np.int64)
    in_columns = in_words.sum(-1)
    in_outer = in_columns.sum(-1)
    yield "count in all", laws.binomial(in_words.sum(), BITS * words.size, p)
    for name, counts, trials in (
        ("in words", in_words, BITS),
        ("in columns", in_columns, rows),
        ("in rows", laws.count_places(words, 2), columns),
        ("in outer indices", in_outer, rows * columns),
        ("in masks", in_outer.sum(-1), math.prod(sizes.shape)),
        ("of positions", laws.count_places(words), len(words)),
    ):
        yield f"counts {name}", laws.dispersion(counts, trials, p)


def _pairs(words: Words, sizes: Sizes, p: float) -> Results:
    """Whether two bits of one mask know of each other."""
    outer, rows, columns = (lags_to(ALL_LAGS, size) for size in sizes.shape)
    yield "lags along a column", laws.lags_along_column(words, p, rows)
    yield "lags along a row", laws.lags_along_axis(words, p, 2, columns)
    yield "lags across outer indices", laws.lags_along_axis(words, p, 1, outer)
    yield "diagonals", laws.diagonals(words, p, range(1, BITS + 1))
    yield "pairs in words", laws.pairs_of_places(words.reshape(-1, 1), p)


def _keys(masks: Masks, sizes: Sizes, seed: int) -> Results:
    """Whether masks of related keys know of each other."""
    lags, blocks = lags_to(16, sizes.small_keys), []
    for name, family in FAMILIES.items():
        words = masks.sample(family(seed, sizes.small_keys), sizes.small_shape)
        flat = words.reshape(len(words), -1)
        blocks.append(flat.view(np.uint64).ravel())
        scatter = laws.dispersion(laws.count_places(words), len(words), masks.p)
        yield f"{name}: counts of positions", scatter
        yield f"{name}: lags", laws.lags_along_axis(words, masks.p, 0, lags)
        yield f"{name}: pairs of positions", laws.pairs_of_places(flat, masks.p)
    if masks.realised == 0.5:
        yield "repeated 64-bit blocks", laws.repeats(np.concatenate(blocks))


def _flips(masks: Masks, sizes: Sizes, seed: int) -> Results:
    """Whether masks know of each other whose key or counters differ in one bit."""
    keys = consecutive_folds(seed, sizes.flipped_keys)
    words = masks.sample(keys, sizes.small_shape)
    changed = flipped(keys)
    others = masks.sample(changed.reshape(-1), sizes.small_shape)
    others = others.reshape(*changed.shape, *words.shape[1:])
    yield "one bit of the key", laws.matched(words, others, masks.p)

    starts = [(1 << bit, 0) for bit in range(MAX_FIRST.bit_length() - 1)]
    starts += [(0, CELL[-1] << bit) for bit in range(MAX_OTHERS.bit_length() - 6)]
    words, *rest = (
        masks.sample(keys, CELL, np.array(start, np.uint32))
        for start in [(0, 0), *starts]
    )
    yield "one bit of the counters", laws.matched(words, np.stack(rest), masks.p)
