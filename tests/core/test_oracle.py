"""The library, bit for bit against the oracle, which is docs/stream.md in NumPy."""

import functools
import math

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
from jdrop._noise import draw_noise
from jdrop._stream import Rate
from jdrop._window import Start, shared

slow = pytest.mark.slow
RATES = (0.0, 1e-7, 1e-4, 0.1, 0.25, 1 / 3, 0.5, 1 - 1e-4, 1.0)
uint32 = st.integers(0, 2**32 - 1)
any_rate = st.floats(0, 1, width=32)
# Few, or around the 32 of a word.
sizes = st.integers(1, 5) | st.integers(30, 35)
EMPTY = ((0,), (0, 0), (3, 0), (2, 40, 0), (0, 40, 2), (2, 0, 3, 5))

# Of the kinds of keys whose words are as many, one and the rest.
ONE_OF_EACH_LENGTH = [
    pytest.param(
        kind, marks=[] if kind in ("philox2x32", "rbg", "legacy of 2") else slow
    )
    for kind in WORDS_IN_KEY
]

# Parts of larger arrays (shape, whole, shared axes). Their rows are neighbours there.
WINDOWS = [
    ((50,), (99,), ()),
    ((3, 20), (9, 45), ()),
    ((40, 2), (100, 2), ()),
    ((33, 1), (97, 1), ()),
    ((4, 9, 7), (6, 9, 7), ()),
    ((2, 40, 3), (5, 70, 8), ()),
    ((2, 70, 3), (5, 70, 8), ()),
    ((2, 3, 36, 4), (4, 6, 40, 9), ()),
    # Their rows are no neighbours.
    ((4, 5, 7), (6, 9, 8), ()),
    ((2, 3, 10, 4), (4, 6, 12, 9), ()),
    ((2, 1, 13, 2, 4), (4, 2, 20, 3, 9), ()),
    # Shared axes.
    ((3, 20), (9, 45), (0,)),
    ((2, 40, 3), (5, 70, 8), (1,)),
    ((2, 40, 3), (5, 70, 8), (0, -1)),
    ((4, 5, 7), (6, 9, 8), (-2,)),
    *((shape, shape, ()) for shape in EMPTY),
]


def words_of(kind):
    return st.lists(uint32, min_size=WORDS_IN_KEY[kind], max_size=WORDS_IN_KEY[kind])


def sample(key, rate, offset, *, shape, dims=(), within=None):
    """The words, the bools and the realised rate."""
    options = {"broadcast_dims": dims, "offset": offset, "within": within}
    mask = jdrop.sample_mask(key, shape, rate, **options)
    return mask.words, mask.to_bool(), mask.rate


# From a traced rate and offset, and from numbers.
draw = jax.jit(sample, static_argnames=("shape", "dims", "within"))
draw_known = jax.jit(
    sample, static_argnames=("rate", "offset", "shape", "dims", "within")
)


def assert_is_the_oracles(drawn, words, shape, rate, dims=(), offset=0, within=None):
    """All bits of a whole mask; of a part those that its elements own."""
    got_words, got_bools, got_rate = map(np.asarray, drawn)
    place = (dims, offset, within)
    expected = oracle.words(words, shape, rate, *place)
    assert got_words.shape == expected.shape
    if offset == 0 and within is None:
        np.testing.assert_array_equal(got_words, expected)
    kept = oracle.mask(words, shape, rate, *place)
    np.testing.assert_array_equal(unpack(got_words, shape, *place), kept)
    assert got_bools.shape == tuple(oracle.shared_shape(shape, dims))
    np.testing.assert_array_equal(np.broadcast_to(got_bools, shape), kept)
    assert got_rate == oracle.threshold(rate)[0]


def unpack(words, shape, dims=(), *part):
    """Section 3.3 of the page: the bools of the elements, without the surplus."""
    bits = words[..., None, :] >> np.arange(32, dtype=np.uint32)[:, None] & 1
    *outer, count, _, columns = bits.shape
    rows = bits.reshape(*outer, 32 * count, columns)
    own = rows[..., : oracle.places(shape, dims, *part).rows, :] == 1
    return np.broadcast_to(own.reshape(oracle.shared_shape(shape, dims)), shape)


def offsets(shape):
    """Offsets from which on so many rows are within the limits."""
    outer, rows, _ = oracle.split(shape)
    end = 2**28 if outer else 2**33 // max(1, math.prod(rows[1:]))
    return st.integers(0, min(2**32 - 1, end - shape[0])) if shape else st.just(0)


@st.composite
def layouts(draw_from):
    """A shape of up to four axes, and some shared axes."""
    lead = draw_from(st.lists(sizes, max_size=3))
    last = st.integers(1, 9 if lead else 300)
    is_scalar = not lead and draw_from(st.booleans())
    shape = () if is_scalar else (*lead, draw_from(last))
    axes = st.integers(-len(shape), len(shape) - 1) if shape else st.nothing()
    return shape, tuple(draw_from(st.sets(axes, max_size=min(2, len(shape)))))


@st.composite
def windows(draw_from):
    """A layout, and a part of it: shape, shared axes, first index, whole shape."""
    whole, dims = draw_from(layouts().filter(lambda layout: layout[0]))
    first = tuple(draw_from(st.integers(0, n - 1)) for n in whole)
    # Often to the end of an axis, so that some parts are cut in few places.
    ends = (
        st.just(n) | st.integers(o + 1, n) for o, n in zip(first, whole, strict=True)
    )
    shape = tuple(draw_from(end) - o for o, end in zip(first, ends, strict=True))
    return shape, dims, first, whole


def window(shape, dims, first, whole):
    """The part of an array of the shape `whole`, shared axes left alone."""
    shared = {d % len(shape) for d in dims}
    return tuple(
        slice(0, n) if axis in shared else slice(o, o + n)
        for axis, (o, n) in enumerate(zip(first, shape, strict=True))
    )


@settings(max_examples=10)
@given(layouts(), st.sampled_from(tuple(WORDS_IN_KEY)), st.data())
def test_any_shape(layout, kind, data):
    """One program serves all rates and offsets; a second one knows the last two."""
    shape, dims = layout
    for rate in (*RATES, data.draw(any_rate)):
        words, offset = data.draw(words_of(kind)), data.draw(offsets(shape))
        key = make_key(kind, words)
        drawn = draw(key, rate, np.uint32(offset), shape=shape, dims=dims)
        assert_is_the_oracles(drawn, words, shape, rate, dims, offset)
    known = draw_known(key, rate=rate, offset=offset, shape=shape, dims=dims)
    assert_is_the_oracles(known, words, shape, rate, dims, offset)


def test_windows():
    """Traced, at places of all kinds in one program; and at the last as numbers."""

    def draw_all(key, places):
        return [
            sample(key, 0.3, place, shape=shape, dims=dims, within=whole)
            for place, (shape, whole, dims) in zip(places, WINDOWS, strict=True)
        ]

    def check(drawn, places):
        for one, place, (shape, whole, dims) in zip(
            drawn, places, WINDOWS, strict=True
        ):
            assert_is_the_oracles(one, words, shape, 0.3, dims, place, whole)

    words, traced = [1, 2, 3, 4], jax.jit(draw_all)
    key = make_key("rbg", words)
    for portion in (0.0, 0.4, 1.0, 0.7):
        places = [
            tuple(int(portion * (h - n)) for n, h in zip(shape, whole, strict=True))
            for shape, whole, _ in WINDOWS
        ]
        check(traced(key, jax.tree.map(np.uint32, places)), places)
    check(jax.jit(functools.partial(draw_all, places=places))(key), places)


@settings(max_examples=8)
@given(windows(), words_of("rbg"))
def test_any_window(part, words):
    shape, dims, first, whole = part
    key = make_key("rbg", words)
    drawn = draw_known(
        key, rate=0.3, offset=first, shape=shape, dims=dims, within=whole
    )
    assert_is_the_oracles(drawn, words, shape, 0.3, *part[1:])


@pytest.mark.parametrize(
    "first", [1, 29, *(pytest.param(n, marks=slow) for n in (15, 43, 57))]
)
def test_any_number_of_rows(first):
    """From 1 to 70, at offsets on both sides of a word."""
    rows = range(first, first + 14)
    shapes = [*((2, n, 1) if n % 2 else (n, 2) for n in rows), *EMPTY]

    @jax.jit
    def draw_all(key, rate, offset):
        return [draw(key, rate, offset, shape=shape) for shape in shapes]

    words = [0x01234567, 0x89ABCDEF]
    key = make_key("threefry2x32", words)
    for rate, offset in ((0.5, 0), (0.1, 3), (0.1, 32), (1e-7, 2**28 - 2)):
        drawn = draw_all(key, rate, np.uint32(offset))
        for one, shape in zip(drawn, shapes, strict=True):
            assert_is_the_oracles(one, words, shape, rate, offset=offset)


@pytest.mark.parametrize("kind", ["philox2x32", "threefry2x32", "rbg", "legacy of 4"])
@settings(max_examples=40)
@given(st.data())
def test_any_key_rate_and_offset(kind, data):
    """One program serves all examples."""
    shape = (5, 3, 7, 2)
    words, rate = data.draw(words_of(kind)), data.draw(any_rate)
    offset = data.draw(offsets(shape))
    drawn = draw(make_key(kind, words), rate, np.uint32(offset), shape=shape)
    assert_is_the_oracles(drawn, words, shape, rate, offset=offset)


@settings(max_examples=100)
@given(layouts(), any_rate, words_of("rbg"), st.data())
def test_the_fold_is_the_comparison(layout, rate, words, data):
    """Within the page itself: section 5 promises U >= p, and computes a fold."""
    shape, dims = layout
    place = (dims, data.draw(offsets(shape)))
    kept = unpack(oracle.words(words, shape, rate, *place), shape, *place)
    np.testing.assert_array_equal(kept, oracle.mask(words, shape, rate, *place))


@settings(max_examples=100)
@given(windows(), any_rate, words_of("rbg"))
def test_a_part_is_that_part_of_the_whole(part, rate, words):
    """Within the page itself, for bools, for bits of words and for noise."""
    shape, dims, first, whole = part
    here = window(*part)
    kept = oracle.mask(words, whole, rate, dims)[here]
    np.testing.assert_array_equal(oracle.mask(words, shape, rate, *part[1:]), kept)
    packed = oracle.words(words, shape, rate, *part[1:])
    np.testing.assert_array_equal(unpack(packed, shape, *part[1:]), kept)
    noise = oracle.noise(words, whole, dims)[here]
    np.testing.assert_array_equal(oracle.noise(words, shape, *part[1:]), noise)


@settings(max_examples=100)
@given(layouts(), any_rate, words_of("rbg"), st.data())
def test_an_offset_is_that_part_of_a_longer_array(layout, rate, words, data):
    """Within the page itself: an integer, and the same as a window."""
    shape, dims = layout
    if not shape:
        return
    offset = data.draw(offsets(shape))
    first, whole = [offset, *[0] * (len(shape) - 1)], [2**33, *shape[1:]]
    for values in (functools.partial(oracle.words, rate=rate), oracle.noise):
        by_offset = values(words, shape, broadcast_dims=dims, offset=offset)
        by_window = values(
            words, shape, broadcast_dims=dims, offset=first, within=whole
        )
        np.testing.assert_array_equal(by_offset, by_window)


@settings(max_examples=50)
@given(layouts(), any_rate, any_rate, words_of("rbg"))
def test_masks_are_nested(layout, rate, other, words):
    """Within the page itself: what survives a higher rate survives a lower one."""
    shape, dims = layout
    lower, higher = (oracle.words(words, shape, p, dims) for p in sorted([rate, other]))
    assert not np.any(higher & ~lower)


@given(words_of("threefry2x32"), st.integers(0, 69), st.integers(0, 2))
def test_noise_of_an_element(words, row, column):
    """Section 6, as it is written."""
    seed = oracle.seeds(words, (0x6A64726F, 0x6E000000))[-1]
    block = oracle.encrypt(seed, 16 * (row // 32) + row % 32 // 2, column)
    assert oracle.noise(words, (70, 3))[row, column] == block[row % 2]


@functools.partial(jax.jit, static_argnames=("shape", "dims"))
def draw_symmetric(key, offset, shape, dims):
    start = Start.of(offset, shape, dims, None)
    shape = shared(shape, dims)
    return draw_noise(key, shape, start, Rate.of(0.5)).symmetric(jnp.ones(shape))


NOISES = [
    ((70,), ()),
    ((), ()),
    ((40, 3), ()),
    ((5, 9, 7), (1,)),
    ((2, 33, 4), ()),
    ((3, 4, 5, 6), (0, 2)),
]


@pytest.mark.parametrize(("shape", "dims"), NOISES)
@settings(max_examples=20)
@given(st.data())
def test_any_noise(shape, dims, data):
    """Exact to the last bit, because the numbers are whole multiples."""
    words = data.draw(words_of("rbg"))
    offset = data.draw(st.integers(0, 200)) if shape else 0
    drawn = draw_symmetric(make_key("rbg", words), offset, shape, dims)
    expected = oracle.symmetric(oracle.noise(words, shape, dims, offset))
    np.testing.assert_array_equal(np.broadcast_to(drawn, shape), expected)


@given(st.tuples(uint32, uint32), st.tuples(uint32, uint32))
def test_any_block(key, block):
    got = _stream.threefry2x32(*(jnp.uint32(word) for word in (*key, *block)))
    assert [int(word) for word in got] == oracle.encrypt(key, *block).tolist()


@pytest.mark.parametrize("kind", ONE_OF_EACH_LENGTH)
@settings(max_examples=10)
@given(st.data())
def test_any_name(kind, data):
    words = data.draw(words_of(kind))
    path = data.draw(st.lists(st.text(max_size=20) | uint32, min_size=1, max_size=4))
    derived = jdrop.key_for(make_key(kind, words), *path)
    assert key_words(derived) == oracle.key_for(words, *path).tolist()
