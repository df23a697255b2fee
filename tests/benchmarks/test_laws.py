"""The laws see what is there and nothing else, in words packed by NumPy."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.randomness import laws


def bernoulli(shape, p, seed=0):
    """Independent packed bits from NumPy's own generator."""
    bits = np.random.default_rng(seed).random((*shape[:-1], 32 * shape[-1])) < p
    return laws.pack(bits)


@pytest.mark.parametrize("p", [0.5, 0.1, 0.01])
def test_p_values_of_dispersion_are_uniform(p):
    counts = np.random.default_rng(0).binomial(32, p, (400, 2000))
    p_values = [laws.dispersion(row, 32, p) for row in counts]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_dispersion_fails_both_ways():
    even = np.full(100, 50)
    wide = np.where(np.arange(100) % 2, 40, 60)
    assert laws.dispersion(even, 100, 0.5) < 1e-10
    assert laws.dispersion(wide, 100, 0.5) < 1e-10


def test_binomial_takes_the_smallest_of_exact_p_values():
    seen = laws.binomial([5, 60], 100, 0.5)
    assert seen == pytest.approx(2 * stats.binomtest(5, 100, 0.5).pvalue)


def test_holm_by_hand():
    adjusted = laws.holm([0.01, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(adjusted, [0.04, 0.09, 0.09, 0.5])


@pytest.mark.parametrize("p", [0.5, 0.03])
def test_laws_hold_for_independent_bits(p):
    words = bernoulli((64, 4, 16, 8), p)
    others = bernoulli((3, 64, 4, 16, 8), p, seed=1)
    p_values = [
        laws.lags_along_column(words, p, range(1, 130)),
        laws.lags_along_axis(words, p, 0, range(1, 64)),
        laws.lags_along_axis(words, p, 1, range(1, 4)),
        laws.lags_along_axis(words, p, 2, range(1, 16)),
        laws.diagonals(words, p, range(1, 130)),
        laws.matched(words, others, p),
        laws.pairs_of_places(words.reshape(-1, 8), p),
        laws.runs(words, p, 16),
        laws.runs(~words, 1 - p, 16),
    ]
    assert laws.holm(p_values).min() > 0.01


@pytest.mark.parametrize("lag", [1, 31, 32, 45])
def test_lag_is_seen_where_it_is(lag):
    bits = np.random.default_rng(0).random((16, 4, 512)) < 0.5
    words = laws.pack(bits | np.roll(bits, lag, axis=-1))
    assert laws.lags_along_column(words, 0.75, [lag]) < 1e-6
    assert laws.lags_along_column(words, 0.75, [lag + 1]) > 1e-3


def test_runs_see_runs():
    bits = np.zeros((8, 8, 1024), bool)
    bits[..., ::8] = True
    assert laws.runs(laws.pack(bits), 1 / 8, 4) < 1e-10


def test_repeats_see_a_repeat():
    blocks = np.random.default_rng(0).integers(0, 2**64, 10_000, dtype=np.uint64)
    assert laws.repeats(blocks) == 1
    assert laws.repeats(np.append(blocks, blocks[5])) < 1e-10


def test_packed_counts_are_those_of_bits():
    words = bernoulli((5, 3, 2), 0.3)
    bits = laws.unpack(words).astype(int)
    np.testing.assert_array_equal(laws.pack(bits != 0), words)
    np.testing.assert_array_equal(laws.count(words, -1), bits.sum(-1))
    for axis in (0, 1):
        places = laws.count_places(words, axis).reshape(-1, 64)
        np.testing.assert_array_equal(places, bits.sum(axis))
    flat = bits.reshape(-1, 64)
    np.testing.assert_array_equal(laws.count_pairs(words), flat.T @ flat)


def test_by_rows_swaps_rows_and_columns():
    words = bernoulli((2, 64, 3), 0.3)
    bits = laws.unpack(words).swapaxes(1, 2)
    np.testing.assert_array_equal(laws.unpack(laws.by_rows(words)), bits)


def test_diagonals_see_a_diagonal():
    left = np.random.default_rng(0).random((16, 4, 8, 128)) < 0.5
    bits = np.stack([left, np.roll(left, 5, axis=-1)], axis=-2).reshape(16, 4, 16, 128)
    assert laws.diagonals(laws.pack(bits), 0.5, [5]) < 1e-6
    assert laws.diagonals(laws.pack(bits), 0.5, [4]) > 1e-3


@pytest.mark.parametrize("distance", [0, 1, 31, 32, 33, 64, 95])
def test_ahead_shifts_a_column_and_fills_it_with_zeros(distance):
    words = bernoulli((4, 3), 0.5)
    bits = laws.unpack(words)
    expected = np.zeros_like(bits)
    expected[:, : 96 - distance] = bits[:, distance:]
    np.testing.assert_array_equal(laws.unpack(laws.ahead(words, distance)), expected)


@pytest.mark.parametrize(("size", "distance"), [(64, 1), (64, 5), (64, 63), (64, 40)])
def test_pairs_are_disjoint(size, distance):
    (first,) = np.nonzero(laws.first_of_pairs(size, distance))
    both = np.concatenate([first, first + distance])
    assert first.size > 0
    assert both.max() < size
    assert np.unique(both).size == both.size
