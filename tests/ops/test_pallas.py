"""Words of a tile, for kernels of other people's: those of the whole mask."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY
from jax.experimental import pallas as pl

import jdrop
import jdrop.pallas
from jdrop._stream import Layout
from jdrop.selfcheck import vectors

SHAPE, RATE = (2, 3, 128, 256), 5 / 16


def golden():
    """Masks of two axes or more that begin at 0, and are not shared or empty."""
    found = [
        v
        for v in vectors.load_golden().masks
        if len(v.shape) > 1
        and np.prod(v.shape)
        and not (v.offset or v.within or v.broadcast_dims)
    ]
    assert len(found) > 10
    return [
        pytest.param(v, id=v.name, marks=[pytest.mark.slow] if i % 8 else [])
        for i, v in enumerate(found)
    ]


@pytest.mark.parametrize("vector", golden())
def test_golden_words(vector):
    layout = Layout.of(vector.shape)
    tile = int(np.prod(layout.rows)), layout.columns
    draw = functools.partial(jdrop.pallas.tile_words, shape=tile, within=vector.shape)
    start = (0,) * len(vector.shape)
    words = jax.jit(draw, static_argnums=(1, 2))(
        jdrop.pallas.seed(vector.make_key()), vector.rate, start
    )
    found = vector.meaning(np.asarray(words)).ravel().tolist()
    count = min(len(found), len(vector.words))
    assert tuple(found[:count]) == vector.words[:count]


def attention(kernel, q, k, v, *more):
    """One program of a kernel a tile of 32 queries, as fused attention has it."""
    batch, heads, queries, features = q.shape
    tile = pl.BlockSpec((None, None, 32, features), lambda b, h, i: (b, h, i, 0))
    whole = pl.BlockSpec(
        (None, None, k.shape[2], features), lambda b, h, i: (b, h, 0, 0)
    )
    return pl.pallas_call(
        kernel,
        grid=(batch, heads, queries // 32),
        in_specs=[pl.BlockSpec((2,), lambda *_: (0,)), tile, whole, whole],
        out_specs=tile,
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        interpret=True,
    )(*more, q, k, v)


def test_dropout_inside_attention():
    """Key positions in two blocks, so that tiles begin along every axis."""
    batch, heads, queries, positions = SHAPE
    keys = jax.random.split(jax.random.key(1), 3)
    q = jax.random.normal(keys[0], (batch, heads, queries, 8))
    k, v = (jax.random.normal(key, (batch, heads, positions, 8)) for key in keys[1:])
    keep = jdrop.pallas.keep(RATE)

    def kernel(seed, q, k, v, y):
        at = pl.program_id(0), pl.program_id(1), 32 * pl.program_id(2)
        scores = q[...] @ k[...].T
        weights = jnp.exp(scores - scores.max(-1, keepdims=True))
        total = jnp.zeros(y.shape)
        for first in range(0, positions, 128):
            words = jdrop.pallas.tile_words(
                (seed[0], seed[1]), RATE, (*at, first), (32, 128), within=SHAPE
            )
            block = slice(first, first + 128)
            kept = jnp.where(jdrop.pallas.unpack(words), weights[:, block], 0.0)
            total += kept @ v[block]
        y[...] = total / (keep * weights.sum(-1, keepdims=True))

    y = attention(kernel, q, k, v, jdrop.pallas.seed(KEY))
    weights = jax.nn.softmax(q @ k.mT)
    expected = jdrop.dropout(KEY, weights, RATE) @ v
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_rates_at_the_ends():
    seed = jdrop.pallas.seed(KEY)
    for rate, bit in ((0, True), (1, False)):
        for start, within in (((0, 0), (64, 4)), ((1, 0, 0), (2, 64, 4))):
            words = jdrop.pallas.tile_words(seed, rate, start, (32, 4), within=within)
            kept = jdrop.pallas.unpack(words)
            assert kept.shape == (32, 4) and (kept == bit).all()


@pytest.mark.parametrize(
    ("start", "within", "message"),
    [
        ((0,), (64,), "a whole of two axes or more; got start=(0,) and within=(64,)"),
        ((0, 0), (2, 64, 8), "one index along each axis"),
        (0, (64, 8), "got start=0 and within=(64, 8)"),
        ((0, 8, 0), (2, 64, 8), "got row 8 of (2, 64, 8). Begin at 0."),
    ],
)
def test_tiles_that_are_none(start, within, message):
    seed = jdrop.pallas.seed(KEY)
    with pytest.raises(ValueError) as error:
        jdrop.pallas.tile_words(seed, 0.5, start, (32, 8), within=within)
    assert message in str(error.value)


@pytest.mark.parametrize("seed", [KEY, 0, (1.0, 2.0), jnp.zeros(3, jnp.uint32)])
def test_a_seed_is_two_words(seed):
    with pytest.raises(TypeError, match="seed is two uint32 scalars; got .* Pass both"):
        jdrop.pallas.tile_words(seed, 0.5, (0, 0), (32, 8), within=(64, 8))


def test_a_tile_has_rows_and_columns():
    tile = functools.partial(
        jdrop.pallas.tile_words, jdrop.pallas.seed(KEY), 0.5, (0, 0), within=(64, 8)
    )
    with pytest.raises(ValueError, match=r"rows and columns; got \(1, 32, 8\)"):
        tile((1, 32, 8))
    with pytest.raises(TypeError, match="shape is a sequence of integers; got int 32"):
        tile(32)


def test_a_traced_rate_and_words_of_another_kind():
    seed = jdrop.pallas.seed(KEY)
    with pytest.raises(TypeError, match="known when it is traced"):
        jax.jit(
            lambda rate: jdrop.pallas.tile_words(
                seed, rate, (0, 0), (32, 8), within=(64, 8)
            )
        )(0.5)
    with pytest.raises(TypeError, match="words are a uint32 array"):
        jdrop.pallas.unpack(jnp.ones((1, 8)))
