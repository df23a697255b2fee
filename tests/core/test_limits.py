"""The ends of the stream: its last digits, ties, large masks, the last row numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import jdrop
from jdrop import _draw, _stream
from jdrop._stream import Rate

KEY = jnp.array([7, 2**31], jnp.uint32)
WORDS = [7, 2**31]
RATES = (1e-9, 1e-7, 1e-4, 0.1, 1 / 3, 0.5, 1 - 1e-4, 1 - 2**-24)


@pytest.mark.parametrize("rate", RATES)
def test_every_digit_counts(rate, monkeypatch):
    """U just below the threshold is dropped, U at it is kept: down to 2^-32.

    No mask is large enough to show its last digits, so the digits of the 32 elements
    of a word are put in the place of those that the cipher gives.
    """
    threshold = int(oracle.threshold(rate)[0] * 2**32)
    near = [threshold - 1, threshold, threshold + 1, 0, 1, 2**32 - 1]
    fractions = np.resize(np.array(near, np.uint32), 32)
    lanes = np.arange(32, dtype=np.uint32)

    def digits(k0, k1, x0, x1):
        first = np.uint32(31) - np.uint32(2) * (x1 & 15)[..., None]
        pair = (fractions >> (first - np.uint32(i)) & 1 for i in (0, 1))
        return tuple((digit << lanes).sum(-1, dtype=jnp.uint32) for digit in pair)

    monkeypatch.setattr(_stream, "threefry2x32", digits)
    with jax.numpy_rank_promotion("allow"):
        words = _draw.draw_words(KEY, (1, 32), Rate.of(rate), np.uint32(0))
    [[kept]] = words.tolist()
    assert [kept >> lane & 1 for lane in range(32)] == (fractions >= threshold).tolist()


@pytest.mark.parametrize("rate", [2e-6, 1 - 2e-6])
def test_rare_places(rate):
    """Some 4 in 2 million elements, decided by the 20th digit and later ones."""
    shape = (2048, 1024)
    expected = oracle.words(WORDS, shape, rate)
    rare = int(np.bitwise_count(expected).sum())
    assert 0 < min(rare, 2**21 - rare) < 20
    mask = jdrop.sample_mask(KEY, shape, rate)
    np.testing.assert_array_equal(mask.words, expected)


@pytest.mark.parametrize("x64", [False, True])
def test_ties_go_to_even(x64):
    """Ties of 16 and of 32 digits, and the float64 numbers beside them."""
    ties = [(k + 0.5) / 2**16 for k in (301, 302, 30_001, 60_002)]
    ties += [(k + 0.5) / 2**32 for k in (0, 1, 2, 301)]
    with jax.enable_x64(x64):
        realised = jax.jit(lambda rate: jdrop.sample_mask(KEY, (1,), rate).rate)
        for tie in ties:
            for rate in (tie, np.nextafter(tie, 0), np.nextafter(tie, 1)):
                expected = float(oracle.threshold(rate)[0])
                for number in (float(rate), np.float64(rate), jnp.asarray(rate)):
                    assert jdrop.sample_mask(KEY, (1,), number).rate == expected
                    assert realised(number) == expected


@pytest.mark.parametrize("shape", [(3, 70_000), (70_001, 33), (2**16 + 3, 1), (2**17,)])
def test_large(shape):
    mask = jdrop.sample_mask(KEY, shape, 0.25)
    np.testing.assert_array_equal(mask.words, oracle.words(WORDS, shape, 0.25))


def test_row_numbers_wrap():
    """Beyond 2^32 rows in all, row numbers start again, as section 3.3 says."""
    shape, offset = (3, 3, 40), 2**31
    assert oracle.row_numbers([3, 3], offset)[0, 0] == 3 * 2**31 % 2**32
    mask = jdrop.sample_mask(KEY, shape, 0.5, offset=offset)
    expected = oracle.words(WORDS, shape, 0.5, offset=offset)
    np.testing.assert_array_equal(mask.words, expected)
