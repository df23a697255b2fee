"""The library, bit for bit against the oracle, which is docs/stream.md in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import WORDS_IN_KEY, key_words, make_key
from hypothesis import given, settings
from hypothesis import strategies as st

import jdrop
from jdrop import _stream

RATES = (0.0, 1e-7, 1e-4, 0.1, 0.25, 1 / 3, 0.5, 1 - 1e-4, 1.0)
uint32 = st.integers(0, 2**32 - 1)
any_rate = st.floats(0, 1, width=32)


def words_of(kind):
    return st.lists(uint32, min_size=WORDS_IN_KEY[kind], max_size=WORDS_IN_KEY[kind])


@functools.partial(jax.jit, static_argnames=("shape", "dims", "jitted_offset"))
def draw(key, rate, offset, *, shape, dims=(), jitted_offset=True):
    """The words, the bools and the realised rate, from a traced rate and offset."""
    options = {"offset": offset} if jitted_offset else {}
    mask = jdrop.sample_mask(key, shape, rate, broadcast_dims=dims, **options)
    return mask.words, mask.to_bool(), mask.rate


def assert_is_the_oracles(drawn, words, shape, rate, dims=(), offset=0):
    got_words, got_bools, got_rate = drawn
    expected = oracle.words(words, shape, rate, dims, offset)
    np.testing.assert_array_equal(got_words, expected)
    bools = np.broadcast_to(got_bools, shape)
    np.testing.assert_array_equal(bools, oracle.mask(words, shape, rate, dims, offset))
    assert float(got_rate) == oracle.threshold(rate)[0]


def unpack(words, shape):
    """Section 3.4 of the page: the bools of a shape without shared axes."""
    lead, columns = oracle.rows_and_columns(shape)
    bits = np.zeros((*lead, columns), bool)
    for *row, c in np.ndindex(bits.shape):
        bits[(*row, c)] = words[(*row, c // 32)] >> (c % 32) & 1
    return bits.reshape(shape)


@st.composite
def layouts(draw_from):
    """A shape of up to four axes, empty ones too, and some shared axes."""
    lead = draw_from(st.lists(st.integers(0, 5), max_size=3))
    last = st.integers(0, 70 if lead else 300)
    is_scalar = not lead and draw_from(st.booleans())
    shape = () if is_scalar else (*lead, draw_from(last))
    axes = st.integers(-len(shape), len(shape) - 1) if shape else st.nothing()
    return shape, tuple(draw_from(st.sets(axes)))


@settings(max_examples=30)
@given(layouts(), st.sampled_from(tuple(WORDS_IN_KEY)), st.data())
def test_any_shape(layout, kind, data):
    shape, dims = layout
    draw_here = functools.partial(
        draw, shape=shape, dims=dims, jitted_offset=len(shape) > 1
    )
    for rate in (*RATES, data.draw(any_rate)):
        words = data.draw(words_of(kind))
        offset = data.draw(uint32) if len(shape) > 1 else 0
        drawn = draw_here(make_key(kind, words), rate, np.uint32(offset))
        assert_is_the_oracles(drawn, words, shape, rate, dims, offset)


@pytest.mark.parametrize("first", [1, 15, 29, 43, 57])
def test_any_last_axis(first):
    """Last axes of 1 to 70; those under 32 join the axis before them to a row."""
    shapes = [(2, 3, last) for last in range(first, first + 14)]

    @jax.jit
    def draw_all(key, rate, offset):
        return [draw(key, rate, offset, shape=shape) for shape in shapes]

    words = [0x01234567, 0x89ABCDEF]
    key = make_key("threefry2x32", words)
    for rate, offset in ((0.5, 0), (0.1, 3), (1e-7, 2**32 - 1)):
        drawn = draw_all(key, rate, np.uint32(offset))
        for one, shape in zip(drawn, shapes, strict=True):
            assert_is_the_oracles(one, words, shape, rate, offset=offset)


@pytest.mark.parametrize("kind", ["philox2x32", "threefry2x32", "rbg", "legacy of 4"])
@settings(max_examples=40)
@given(st.data())
def test_any_key_rate_and_offset(kind, data):
    """Traced, and as numbers: one program each serves all examples."""
    shape = (2, 2, 3, 35)
    words = data.draw(words_of(kind))
    key = make_key(kind, words)
    rate, offset = data.draw(any_rate), data.draw(uint32)
    drawn = draw(key, rate, np.uint32(offset), shape=shape)
    assert_is_the_oracles(drawn, words, shape, rate, offset=offset)
    mask = jdrop.sample_mask(key, shape, rate, offset=offset)
    np.testing.assert_array_equal(mask.words, drawn[0])
    assert mask.rate == drawn[2]


@settings(max_examples=200)
@given(layouts(), any_rate, words_of("rbg"), uint32)
def test_the_fold_is_the_comparison(layout, rate, words, offset):
    """Within the page itself: section 5 promises U >= p, and computes a fold."""
    shape, dims = layout
    shared = oracle.shared_shape(shape, dims)
    whole = oracle.words(words, shape, rate, dims, offset)
    kept = np.broadcast_to(unpack(whole, shared), shape)
    np.testing.assert_array_equal(kept, oracle.mask(words, shape, rate, dims, offset))


@settings(max_examples=200)
@given(layouts(), any_rate, any_rate, words_of("rbg"), uint32, st.data())
def test_parts_and_rates(layout, rate, other, words, offset, data):
    """Within the page itself: parts of a batch get their rows, and masks are nested."""
    shape, dims = layout
    whole = oracle.words(words, shape, rate, dims, offset)
    if len(shape) > 1 and not {0, -len(shape)} & set(dims):
        start = data.draw(st.integers(0, shape[0]))
        part = (shape[0] - start, *shape[1:])
        np.testing.assert_array_equal(
            oracle.words(words, part, rate, dims, offset + start), whole[start:]
        )
    lower, higher = (
        oracle.words(words, shape, p, dims, offset) for p in sorted([rate, other])
    )
    assert not np.any(higher & ~lower)


@given(st.tuples(uint32, uint32), st.tuples(uint32, uint32))
def test_any_block(key, block):
    got = _stream.threefry2x32(*(jnp.uint32(word) for word in (*key, *block)))
    assert [int(word) for word in got] == oracle.encrypt(key, *block).tolist()


@pytest.mark.parametrize("kind", WORDS_IN_KEY)
@settings(max_examples=25)
@given(st.data())
def test_any_name(kind, data):
    words = data.draw(words_of(kind))
    path = data.draw(st.lists(st.text(max_size=20) | uint32, min_size=1, max_size=4))
    derived = jdrop.key_for(make_key(kind, words), *path)
    assert key_words(derived) == oracle.key_for(words, *path).tolist()
