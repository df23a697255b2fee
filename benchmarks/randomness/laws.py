"""What independent Bernoulli bits do, each law with the p-value of what was seen.

Every law takes packed bits, 1 with probability `p`, of shape (keys, rows, words). Pairs
are disjoint, so that their count is exactly binomial whatever p is. A law that looks
at many places at once returns its smallest p-value times their number (Bonferroni).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.randomness import packed
from benchmarks.randomness.packed import Counts, Words


def binomial(counts: npt.ArrayLike, trials: npt.ArrayLike, p: float) -> float:
    """Exact two-sided test of each count against Binomial(trials, p)."""
    counts, trials = np.asarray(counts), np.asarray(trials)
    below = stats.binom.cdf(counts, trials, p)
    above = stats.binom.sf(counts - 1, trials, p)
    return float(min(1.0, 2 * counts.size * np.minimum(below, above).min()))


def dispersion(counts: Counts, trials: int, p: float) -> float:
    """Whether counts scatter as Binomial(trials, p) does, no more and no less.

    The sum of squares over its expectation is asymptotically chi-square. It is scaled
    to its exact mean and variance, which differ from those of a chi-square where few
    bits are 1.
    """
    variance = trials * p * (1 - p)
    total = float(np.square(counts - trials * p).sum() / variance)
    scale = 1 + (1 / variance - 6 / trials) / 2
    scatter = stats.chi2(counts.size / scale, scale=scale)
    return float(min(1.0, 2 * min(scatter.cdf(total), scatter.sf(total))))


def lags_along_row(words: Words, p: float, lags: Iterable[int]) -> float:
    """Both bits of a pair some columns apart are 1 with probability p^2."""
    return _pairs(p, (_apart_in_row(words, lag) for lag in lags))


def lags_along_axis(words: Words, p: float, axis: int, lags: Iterable[int]) -> float:
    """Both bits of a pair some rows, or some keys, apart are 1 with probability p^2."""
    return _pairs(p, (_apart_on_axis(words, axis, lag) for lag in lags))


def diagonals(words: Words, p: float, lags: Iterable[int]) -> float:
    """The same for pairs one row and some columns apart."""
    upper, lower = words[:, 0::2], words[:, 1::2]
    lanes = upper[..., 0].size
    size = packed.LANES * words.shape[-1]
    return _pairs(
        p,
        (
            (packed.count(a & packed.ahead(b, lag)), lanes * (size - lag))
            for lag in lags
            for a, b in ((upper, lower), (lower, upper))
        ),
    )


def matched(words: Words, others: Words, p: float) -> float:
    """The same for the bits of words and of each of the others, stacked on axis 0."""
    along = tuple(range(1, others.ndim))
    both = packed.count(words & others, along)
    return binomial(both, packed.LANES * words.size, p * p)


def pairs_of_lanes(words: Words, p: float) -> float:
    """The same for every two lanes of a row, however far apart."""
    pairs = packed.count_pairs(words)
    one, other = np.triu_indices(len(pairs), 1)
    return binomial(pairs[one, other], words[..., 0].size, p * p)


def runs(words: Words, p: float, longest: int) -> float:
    """A run of 1s goes on with probability p, whatever its length.

    Runs that begin near the end of a row are left out: all of them can go on.
    """
    columns = packed.LANES * words.shape[-1]
    early = packed.pack(np.arange(columns) < columns - longest - 2)
    alive = ~words & packed.ahead(words, 1) & early
    going_on = [packed.count(alive)]
    for length in range(1, longest + 1):
        alive &= packed.ahead(words, length + 1)
        going_on.append(packed.count(alive))
    return binomial(going_on[1:], going_on[:-1], p)


def repeats(blocks: npt.NDArray[np.uint64]) -> float:
    """Uniform 64-bit blocks repeat as seldom as birthdays: a Poisson count."""
    repeated = blocks.size - np.unique(blocks).size
    expected = blocks.size * (blocks.size - 1) / 2 / 2.0**64
    return float(stats.poisson.sf(repeated - 1, expected))


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """p-values adjusted for their number, which bound the family-wise error (Holm)."""
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values)
    factors = np.arange(p_values.size, 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return adjusted


def _pairs(p: float, seen: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> float:
    """Tests (count, trials) of pairs of which both are 1."""
    counts, trials = np.transpose(list(seen))
    return binomial(counts, trials, p * p)


def _apart_in_row(words: Words, lag: int) -> tuple[Counts, int]:
    first = packed.firsts(packed.LANES * words.shape[-1], lag)
    both = words & packed.ahead(words, lag) & packed.pack(first)
    return packed.count(both), int(first.sum()) * words[..., 0].size


def _apart_on_axis(words: Words, axis: int, lag: int) -> tuple[Counts, int]:
    (first,) = np.nonzero(packed.firsts(words.shape[axis], lag))
    both = words.take(first, axis) & words.take(first + lag, axis)
    return packed.count(both), packed.LANES * both.size
