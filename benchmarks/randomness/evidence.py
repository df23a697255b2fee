"""Applies the laws to masks at several rates, and says which of them failed."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.randomness import laws, packed, samples
from benchmarks.randomness.controls import Draw
from benchmarks.randomness.packed import Words
from benchmarks.randomness.samples import Masks, Sizes

RATES = (0.5, 0.1, 0.25, 1 / 3, 0.9, 1 / 256, 1e-3)

FAMILY_WISE = 0.01
"""Bound on the probability that any law of a whole run fails by chance."""

ALL_LAGS = 64
"""Up to here every lag along a row is looked at, beyond it powers of two."""

LONGEST = 16
"""The longest run that is looked at."""

Results = Iterator[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The p-value of one law at one rate, and its p-value adjusted for all of them."""

    law: str
    rate: float
    p_value: float
    adjusted: float = 1.0

    @property
    def failed(self) -> bool:
        """Whether the law fails at the family-wise threshold."""
        return self.adjusted < FAMILY_WISE


def judge(
    draw: Draw, sizes: Sizes, seed: int, rates: Sequence[float] = RATES
) -> list[Finding]:
    """Every law at every rate, with p-values adjusted for their number (Holm).

    Args:
      draw: What draws the masks.
      sizes: How much of it.
      seed: First of the seeds, one a rate, so that no two rates see the same digits.
      rates: Rates of dropping.

    Returns:
      A finding for each law and rate.
    """
    found = [
        Finding(law, rate, p_value)
        for number, rate in enumerate(rates)
        for law, p_value in _judge_rate(Masks(draw, rate), sizes, seed + number)
    ]
    adjusted = laws.holm([finding.p_value for finding in found])
    return [
        dataclasses.replace(finding, adjusted=float(p_value))
        for finding, p_value in zip(found, adjusted, strict=True)
    ]


def _judge_rate(masks: Masks, sizes: Sizes, seed: int) -> Results:
    large = masks.sample(samples.consecutive_folds(seed, sizes.keys), sizes.shape)
    yield from _counts(large, masks.p)
    yield from _pairs(large, masks.p)
    yield "runs of dropped", laws.runs(large, masks.p, LONGEST)
    yield "runs of kept", laws.runs(~large, 1 - masks.p, LONGEST)
    yield from _keys(masks, sizes, seed)
    yield from _flips(masks, sizes, seed)


def _counts(words: Words, p: float) -> Results:
    """How many bits are 1: in all, at each place, and in blocks of many sizes."""
    keys, rows, _ = words.shape
    lanes = packed.LANES * words[0, 0].size
    in_words = np.bitwise_count(words).astype(np.int64)
    yield "count in all", laws.binomial(in_words.sum(), packed.LANES * words.size, p)
    yield "counts in words", laws.dispersion(in_words, packed.LANES, p)
    yield "counts in rows", laws.dispersion(in_words.sum(-1), lanes, p)
    yield "counts in masks", laws.dispersion(in_words.sum((1, 2)), rows * lanes, p)
    in_columns = packed.count_lanes(words.swapaxes(0, 1))
    yield "counts in columns", laws.dispersion(in_columns, rows, p)
    yield "counts of positions", laws.dispersion(packed.count_lanes(words), keys, p)


def _pairs(words: Words, p: float) -> Results:
    """Whether two bits of one mask know of each other."""
    _, rows, _ = words.shape
    lanes = packed.LANES * words[0, 0].size
    yield "lags along a row", laws.lags_along_row(words, p, lags_to(ALL_LAGS, lanes))
    yield "lags across rows", laws.lags_along_axis(words, p, 1, range(1, rows))
    yield "diagonals", laws.diagonals(words, p, range(1, packed.LANES + 1))
    yield "pairs of lanes", laws.pairs_of_lanes(words.reshape(-1, 1), p)


def _keys(masks: Masks, sizes: Sizes, seed: int) -> Results:
    """Whether masks of related keys know of each other."""
    lags = lags_to(16, sizes.small_keys)
    blocks = []
    for name, family in samples.FAMILIES.items():
        words = masks.sample(family(seed, sizes.small_keys), sizes.small_shape)
        yield (
            f"{name}: counts of positions",
            laws.dispersion(packed.count_lanes(words), len(words), masks.p),
        )
        yield f"{name}: lags", laws.lags_along_axis(words, masks.p, 0, lags)
        flat = words.reshape(len(words), -1)
        yield f"{name}: pairs of positions", laws.pairs_of_lanes(flat, masks.p)
        blocks.append(flat.view(np.uint64).ravel())
    if masks.realised == 0.5:
        yield "repeated 64-bit blocks", laws.repeats(np.concatenate(blocks))


def _flips(masks: Masks, sizes: Sizes, seed: int) -> Results:
    """Whether masks know of each other whose key or row number differs in one bit."""
    keys = samples.consecutive_folds(seed, sizes.flipped_keys)
    words = masks.sample(keys, sizes.small_shape)
    flipped = samples.flipped(keys)
    others = masks.sample(flipped.reshape(-1), sizes.small_shape)
    others = others.reshape(*flipped.shape, *words.shape[1:])
    yield "one bit of the key", laws.matched(words, others, masks.p)

    row = (1, packed.LANES * words[0].size)
    others = np.stack([masks.sample(keys, row, 1 << bit) for bit in range(32)])
    yield "one bit of the row", laws.matched(masks.sample(keys, row), others, masks.p)


def lags_to(all_to: int, size: int) -> list[int]:
    """1, 2, ..., all_to, and on in powers of two."""
    powers = [2**i for i in range(size.bit_length()) if all_to < 2**i < size]
    return [*range(1, all_to + 1), *powers]
