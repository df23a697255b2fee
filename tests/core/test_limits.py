"""The ends of the stream: its last digits, ties, large masks, the last counters."""

import functools

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
        first = np.uint32(31) - np.uint32(2) * (x0 & 15)[..., None]
        pair = (fractions >> (first - np.uint32(i)) & 1 for i in (0, 1))
        return tuple((digit << lanes).sum(-1, dtype=jnp.uint32) for digit in pair)

    monkeypatch.setattr(_stream, "threefry2x32", digits)
    with jax.numpy_rank_promotion("allow"):
        words = _draw.draw_words(KEY, (1, 1), (None, None), (1, 1), Rate.of(rate))
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


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 60, reason="long double is a float64 here"
)
def test_a_long_double_is_rounded_once():
    """Above a tie of float32 by less than a float64 can tell."""
    below, above = 1 - 2**-9, 1 - 2**-9 + 2**-24
    rate = np.longdouble(below) + np.longdouble(2**-25 + 2**-60)
    assert np.float32(float(rate)) == below
    assert jdrop.sample_mask(KEY, (1,), rate).rate == above


@pytest.mark.parametrize(
    "shape", [(3, 70_000), (70_001, 33), (300, 300, 3), (2**20 + 3,)]
)
def test_large(shape):
    mask = jdrop.sample_mask(KEY, shape, 0.25)
    np.testing.assert_array_equal(mask.words, oracle.words(WORDS, shape, 0.25))


def sample(offset, shape, within=None):
    return jdrop.sample_mask(KEY, shape, 0.5, offset=offset, within=within).to_bool()


traced = jax.jit(sample, static_argnames=("shape", "within"))


def test_no_offset_repeats_a_mask():
    """Two halves agree in half of their elements, as independent ones do."""
    shape = (2, 256, 256, 32)
    first = np.asarray(sample(0, shape))
    for other in (sample(65536, shape), traced(np.uint32(65536), shape)):
        assert abs(np.mean(first == other) - 0.5) < 0.002


@pytest.mark.parametrize("shape", [(1, 40, 2), (1, 2, 3), (32, 5), (32,)])
def test_no_power_of_two_repeats_a_word(shape):
    """Offsets over all that the counters allow: 2^28, or 2^33 rows."""
    last = 28 if len(shape) == 3 and shape[1] >= 32 else 32
    offsets = np.array([0, *(1 << np.arange(5, last, dtype=np.uint32))], np.uint32)
    words = jax.vmap(
        lambda offset: jdrop.sample_mask(KEY, shape, 0.5, offset=offset).words
    )(offsets)
    assert len(np.unique(words)) == words.size


# Each ends with the last counter: i = 2^28 - 1 by blocks, by rows; j = 2^32 - 1.
LAST = {
    "outer": ((2, 33, 3), 2**28 - 2, None),
    "rows": ((5, 2, 3), 2**32 - 5, None),
    "columns": (
        (1, 1, 32, 2),
        (0, 2**16 - 1, 0, 2**16 - 2),
        (1, 2**16, 32, 2**16),
    ),
}


@pytest.mark.parametrize(("shape", "offset", "within"), LAST.values(), ids=LAST)
def test_last_counters(shape, offset, within):
    at = oracle.places(shape, (), offset, within)
    assert at.i.max() >= 2**28 - 1 or at.j.max() == 2**32 - 1
    expected = oracle.mask(WORDS, shape, 0.5, (), offset, within)
    uint32 = jax.tree.map(np.uint32, offset)
    for drawn in (sample(offset, shape, within), traced(uint32, shape, within)):
        np.testing.assert_array_equal(drawn, expected)


BEYOND = {
    "outer": ((2**28 + 1, 32, 1), 0, None),
    "rows": ((2**33 + 1,), 0, None),
    "columns": ((1, 2**32 + 1), 0, None),
    "others": ((1, 2**16, 32, 2**16 + 1), 0, None),
    "outer, from an offset": ((2, 33, 3), 2**28 - 1, None),
    "rows, from an offset": ((5, 2, 3), 2**32 - 4, None),
    "outer, of a window": ((2, 1, 1), (2**28 - 1, 0, 0), (2**29, 33, 3)),
    "others, of a window": ((1, 1, 1), (0, 0, 0), (1, 33, 2**31 + 1)),
}


@pytest.mark.parametrize(("shape", "offset", "within"), BEYOND.values(), ids=BEYOND)
def test_beyond_the_counters(shape, offset, within):
    with pytest.raises(ValueError, match="counters"):
        oracle.words(WORDS, shape, 0.5, (), offset, within)
    with pytest.raises(ValueError, match="the stream numbers .* Split the array"):
        jdrop.sample_mask(KEY, shape, 0.5, offset=offset, within=within)


@pytest.mark.parametrize("shape", [(2**28, 32, 16), (2**32, 1), (2**33,), (2, 2**32)])
def test_within_the_counters(shape):
    """All that they number; nothing is drawn."""
    draw = functools.partial(jdrop.sample_mask, shape=shape, rate=0.5)
    assert jax.eval_shape(draw, KEY).words.shape == tuple(oracle.words_shape(shape))


def test_a_traced_offset_wraps():
    """It repeats bits beyond the limits, as section 3 says."""
    np.testing.assert_array_equal(
        traced(np.uint32(2**28 + 5), (2, 33, 3)),
        oracle.mask(WORDS, (2, 33, 3), 0.5, offset=5),
    )
    # 4 * 2^31 rows are all that i numbers.
    ends, begins = (
        oracle.mask(WORDS, (n, 4, 7), 0.5, offset=offset)
        for n, offset in ((2, 2**31 - 2), (3, 0))
    )
    np.testing.assert_array_equal(
        traced(np.uint32(2**31 - 2), (5, 4, 7)), np.concatenate([ends, begins])
    )
    whole = (1, 2**16, 32, 2**16)
    window = functools.partial(traced, shape=(1, 2, 32, 2), within=whole)
    place = np.array([0, 2**16 + 3, 0, 9], np.uint32)
    np.testing.assert_array_equal(
        window(tuple(place)), window(tuple(place % np.uint32(2**16)))
    )
    np.testing.assert_array_equal(
        traced(np.int32(-1), (1, 3)), sample(2**32 - 1, (1, 3))
    )
