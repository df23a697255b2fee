"""Every op on every mesh: the same values, no communication, each device its share."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import (
    ALPHA,
    DROPOUT,
    GAUSSIAN,
    KEY,
    TYPICAL,
    assert_equation,
    each_typical,
    kept,
    key_words,
)
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from meshes import (
    KINDS,
    PLACEMENTS,
    SHAPE,
    collectives,
    make_mesh,
    place,
    words_drawn,
)

import jdrop

# Two pairs of digits: as many as show the order, as few as compile soon.
RATE = 5 / 16
WORDS = np.prod(SHAPE) // 32
X = np.asarray(jax.random.normal(jax.random.key(1), SHAPE)) + 3


def drop(x, key=KEY):
    return jdrop.dropout(key, x, RATE)


MASKS = (DROPOUT, ALPHA)


@jax.jit
def values_and_products(key, x):
    """What each op gives, and the product of its slope and x."""
    for_all = []
    for case in MASKS:
        y, pullback = jax.vjp(functools.partial(case, key, rate=RATE), x)
        for_all.append((y, *pullback(x)))
    return for_all


def kept_on(shape=SHAPE, words=(0, 4, 0, 4)):
    return kept(words, shape, RATE)


@pytest.mark.parametrize(
    ("kind", "sizes", "spec"),
    [
        pytest.param(kind, *placement, marks=[pytest.mark.slow] if i % 3 else [])
        for kind in ("explicit", "auto")
        for i, placement in enumerate(PLACEMENTS)
    ]
    + [
        (kind, (4, 2), spec)
        for kind in ("auto and explicit", "explicit and auto")
        for spec in (P("a", "b"), P(None, "b", "a"))
    ],
    ids=str,
)
def test_the_same_without_a_word_between_devices(kind, sizes, spec):
    mesh = make_mesh(sizes, kind)
    with jax.set_mesh(mesh):
        x = place(X, mesh, spec)
        program = values_and_products.lower(KEY, x).compile()
        assert not collectives(program)
        parts = np.prod(SHAPE) // np.prod(x.sharding.shard_shape(SHAPE))
        assert words_drawn(program) == WORDS // parts
        for case, (y, product) in zip(MASKS, program(KEY, x), strict=True):
            for result in (y, product):
                assert result.sharding.is_equivalent_to(x.sharding, 3)
            assert_equation(case, y, X, RATE, slope=np.asarray(product) / X)


@pytest.mark.parametrize("kind", ["auto", "explicit"])
@pytest.mark.parametrize("shape", [SHAPE, (8, 200, 6)])
def test_each_device_draws_the_noise_of_its_elements(kind, shape):
    mesh = make_mesh((4, 2), kind)
    x = np.resize(X, shape)
    with jax.set_mesh(mesh):
        placed = place(x, mesh, P("a", "b"))
        drop = jax.jit(lambda x: jax.vjp(functools.partial(GAUSSIAN, KEY), x)[1](x))
        program = drop.lower(placed).compile()
        assert not collectives(program)
        assert words_drawn(program) == np.prod(shape) // 8
        [product] = program(placed)
        assert product.sharding.is_equivalent_to(placed.sharding, 3)
    # The law is linear in x.
    assert_equation(GAUSSIAN, product, x)


@pytest.mark.parametrize("kind", KINDS)
@each_typical
def test_eager_without_a_mesh_around(case, kind):
    x = place(X, make_mesh((4, 2), kind), P("a", "b"))
    y, pullback = jax.vjp(lambda x: case(KEY, x, RATE), x)
    [slope] = pullback(jnp.ones_like(x))
    for result in (y, slope):
        assert result.sharding.is_equivalent_to(x.sharding, 3)
    assert_equation(case, y, X, RATE, slope=slope)


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_sharded_broadcast_axis(kind):
    """flax.nnx fails here: flax issue 5209."""
    mesh = make_mesh((8,), kind)
    variants = list(itertools.product(TYPICAL, (0, 1)))

    @jax.jit
    def shared(x):
        return [case(KEY, x, RATE, broadcast_dims=(dim,)) for case, dim in variants]

    with jax.set_mesh(mesh):
        for spec in (P("a"), P(None, "a")):
            ys = shared(place(X, mesh, spec))
            for (case, dim), y in zip(variants, ys, strict=True):
                noise = case.drawn(X, RATE, dims=(dim,))
                assert_equation(case, y, X, RATE, noise)


# A shape, its cut over a mesh, and the words that each device draws: its share, where
# 32 and its rows divide one another; else all word rows, or those of some neighbours.
CUTS = [
    ((1024, 64), (8,), P("a"), 4 * 64),
    ((64, 64), (8,), P("a"), 64),
    ((8, 64), (8,), P("a"), 64),
    ((104, 64), (8,), P("a"), 4 * 64),
    ((96, 64), (8,), P("a"), 3 * 64),
    ((104, 64), (4, 2), P("a", "b"), 4 * 32),
    ((32, 200), (8,), P(None, "a"), 25),
    ((16, 80), (8,), P(None, "a"), 10),
    ((8, 64, 1000), (8,), P(None, None, "a"), 8 * 2 * 125),
    ((8, 64, 100), (8,), P("a"), 2 * 100),
    ((8, 64, 100), (8,), P(None, "a"), 8 * 100),
    ((8, 200, 10), (8,), P(None, "a"), 8 * 7 * 10),
    ((8, 2, 33, 8), (4, 2), P("a", "b"), 2 * 2 * 8),
    ((8, 28, 28, 8), (8,), P("a"), 25 * 8),
    ((8, 28, 28, 8), (4, 2), P("a", "b"), 2 * 25 * 8),
    ((8, 6, 16), (2, 4), P("a", None, "b"), 2 * 4),
    ((1000,), (8,), P("a"), 32),
    ((1024,), (8,), P("a"), 4),
]


@pytest.mark.parametrize(
    "kind", ["auto", pytest.param("explicit", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("shape", "sizes", "spec", "words"), CUTS, ids=str)
def test_no_cut_makes_devices_speak(kind, shape, sizes, spec, words):
    mesh = make_mesh(sizes, kind)
    with jax.set_mesh(mesh):
        x = place(jnp.ones(shape), mesh, spec)
        program = jax.jit(lambda x: jax.vjp(drop, x)[1](x)).lower(x).compile()
        assert not collectives(program)
        assert words_drawn(program) == words
        [slope] = program(x)
        assert slope.sharding.is_equivalent_to(x.sharding, x.ndim)
        np.testing.assert_array_equal(slope > 0, kept_on(shape))


def test_sizes_that_no_mesh_divides():
    """Inside a program an axis of any size can be sharded: its shards are padded."""
    mesh = make_mesh((4, 2), "auto")
    places = [
        (shape, NamedSharding(mesh, P(*[None] * axis, "a")))
        for shape in [(9, 3, 11), (7, 45), (13,)]
        for axis in range(len(shape))
    ]

    @jax.jit
    def f(xs):
        for i, (_, sharding) in enumerate(places):
            x = lax.with_sharding_constraint(xs[i], sharding)
            xs[i] = lax.with_sharding_constraint(drop(x), sharding)
        return xs

    ys = f([jnp.ones(shape) for shape, _ in places])
    for (shape, _), y in zip(places, ys, strict=True):
        np.testing.assert_array_equal(y > 0, kept_on(shape))


@pytest.mark.parametrize("kind", KINDS)
def test_words_placed_by_their_user(kind):
    """The words are a plain array: whoever asks gets them in pieces."""
    mesh = make_mesh((4, 2), kind)
    specs = (P("a"), P("b"), P(None, None, "a"))
    places = [NamedSharding(mesh, spec) for spec in specs]

    def sample():
        return [jdrop.sample_mask(KEY, SHAPE, RATE).words for _ in places]

    expected = oracle.words(key_words(KEY), SHAPE, RATE)
    for sharding, words in zip(
        places, jax.jit(sample, out_shardings=places)(), strict=True
    ):
        assert words.sharding.is_equivalent_to(sharding, 3)
        np.testing.assert_array_equal(words, expected)


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_a_mask_is_applied_where_x_is(kind):
    mask = jdrop.sample_mask(KEY, SHAPE, RATE)
    mesh = make_mesh((8,), kind)
    with jax.set_mesh(mesh):
        x = place(X, mesh, P(None, "a"))
        y = jax.jit(jdrop.apply_mask)(mask, x)
        assert y.sharding.is_equivalent_to(x.sharding, 3)
    assert_equation(DROPOUT, y, X, RATE)


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_vmap_over_a_sharded_axis(kind):
    """A batch of keys beside a batch of x, both cut the same way."""
    mesh = make_mesh((4, 2), kind)
    keys = jax.random.split(KEY, 4)
    shape = (4, 8, 16, 8)
    expected = [kept_on(shape[1:], tuple(key_words(key))) for key in keys]
    with jax.set_mesh(mesh):
        placed = place(keys, mesh, P("a"))
        for spec in (P("a"), P("a", "b"), P("a", None, None, "b")):
            x = place(jnp.ones(shape), mesh, spec)
            y = jax.jit(jax.vmap(lambda key, x: drop(x, key)))(placed, x)
            np.testing.assert_array_equal(y > 0, expected)
