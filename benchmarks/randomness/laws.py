"""What independent Bernoulli bits do, each law with the p-value of what was seen.

Every law takes packed bits, 1 with probability `p`: uint32 words of shape (keys,
outer, columns, words), in which a column is packed from its first row to its last.
Pairs are disjoint, so that their count is exactly binomial whatever p is. A law that
looks at many places at once returns its smallest p-value times their number
(Bonferroni).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import stats

BITS = 32

Words = npt.NDArray[np.uint32]
Counts = npt.NDArray[np.int64]


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


def lags_along_column(words: Words, p: float, lags: Iterable[int]) -> float:
    """Both bits of a pair some rows apart are 1 with probability p^2."""
    size = BITS * words.shape[-1]
    firsts = {lag: first_of_pairs(size, lag) for lag in lags}
    counts = [
        count(words & ahead(words, lag) & pack(first)) for lag, first in firsts.items()
    ]
    trials = [int(first.sum()) * words[..., 0].size for first in firsts.values()]
    return binomial(counts, trials, p * p)


def lags_along_axis(words: Words, p: float, axis: int, lags: Iterable[int]) -> float:
    """The same for pairs some columns, outer indices or keys apart."""
    counts, trials = [], []
    for lag in lags:
        (first,) = np.nonzero(first_of_pairs(words.shape[axis], lag))
        both = words.take(first, axis) & words.take(first + lag, axis)
        counts.append(count(both))
        trials.append(BITS * both.size)
    return binomial(counts, trials, p * p)


def diagonals(words: Words, p: float, lags: Iterable[int]) -> float:
    """The same for pairs one column and some rows apart, either way."""
    left, right = words[..., 0::2, :], words[..., 1::2, :]
    size = BITS * words.shape[-1]
    counts, trials = [], []
    for lag in lags:
        for one, other in ((left, right), (right, left)):
            counts.append(count(one & ahead(other, lag)))
            trials.append(left[..., 0].size * (size - lag))
    return binomial(counts, trials, p * p)


def matched(words: Words, others: Words, p: float) -> float:
    """The same for the bits of words and of each of the others, stacked on axis 0."""
    both = count(words & others, tuple(range(1, others.ndim)))
    return binomial(both, BITS * words.size, p * p)


def pairs_of_places(words: Words, p: float) -> float:
    """The same for every two bits of the last axis, however far apart."""
    pairs = count_pairs(words)
    one, other = np.triu_indices(len(pairs), 1)
    return binomial(pairs[one, other], words[..., 0].size, p * p)


def runs(words: Words, p: float, longest: int) -> float:
    """A run of 1s goes on with probability p, whatever its length.

    Runs that begin near the end of a column are left out: all of them can go on.
    """
    rows = BITS * words.shape[-1]
    early = pack(np.arange(rows) < rows - longest - 2)
    alive = ~words & ahead(words, 1) & early
    going_on = [count(alive)]
    for length in range(1, longest + 1):
        alive &= ahead(words, length + 1)
        going_on.append(count(alive))
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


def count(words: Words, axis: int | tuple[int, ...] | None = None) -> Counts:
    """How many 1 bits there are along the axes of words, or in all."""
    return np.bitwise_count(words).sum(axis, dtype=np.int64)


def count_places(words: Words, axis: int = 0) -> Counts:
    """How many 1 bits each place in a word has along an axis, places last."""
    counts = [((words >> bit) & 1).sum(axis, dtype=np.int64) for bit in range(BITS)]
    return np.stack(counts, axis=-1)


def count_pairs(words: Words) -> Counts:
    """For every two bits of the last axis, how often both are 1.

    The diagonal has the counts of single bits.
    """
    lines = words.reshape(-1, words.shape[-1])
    pairs: Counts = np.zeros((BITS * lines.shape[1],) * 2, np.int64)
    # Sums of 0 and 1 are exact in float32 up to 2^24.
    step = max(1, 2**24 // pairs.shape[0])
    for start in range(0, len(lines), step):
        bits = unpack(lines[start : start + step]).astype(np.float32)
        pairs += (bits.T @ bits).astype(np.int64)
    return pairs


def ahead(words: Words, distance: int) -> Words:
    """Every bit sees the one `distance` further down its column, or 0 past its end."""
    skip, shift = divmod(distance, BITS)
    padding = np.zeros((*words.shape[:-1], skip + 1), np.uint32)
    later: Words = np.concatenate([words[..., skip:], padding], axis=-1)
    if shift == 0:
        return later[..., :-1]
    return (later[..., :-1] >> np.uint32(shift)) | (
        later[..., 1:] << np.uint32(BITS - shift)
    )


def first_of_pairs(size: int, distance: int) -> npt.NDArray[np.bool_]:
    """Which places are the first of a pair `distance` apart, pairs being disjoint."""
    place = np.arange(size)
    return (place // distance % 2 == 0) & (place + distance < size)


def pack(bits: npt.NDArray[np.bool_]) -> Words:
    """Packs the last axis, the first bool into the lowest bit of the first word."""
    octets = np.packbits(bits, axis=-1, bitorder="little")
    return octets.view("<u4").astype(np.uint32)


def unpack(words: Words) -> npt.NDArray[np.uint8]:
    """One 0 or 1 a bit: the inverse of `pack`, along the last axis."""
    octets = np.ascontiguousarray(words, "<u4").view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")


def by_rows(words: Words) -> Words:
    """The same bits, with rows packed from their first column to their last."""
    return pack(unpack(words).swapaxes(-1, -2) != 0)
