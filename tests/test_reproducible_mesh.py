"""The dropped places on every mesh: against the oracle, which knows of no device.

What a mesh costs (no communication, each device draws its share) is tested elsewhere.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import CASES
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jdrop

KEY = jax.random.key(4, impl="rbg")
RATE = 0.3
SHAPE = (8, 16, 8)
SIZES = [(1,), (2,), (4,), (8,), (1, 8), (2, 2), (4, 2), (2, 4)]
AUTO, EXPLICIT = AxisType.Auto, AxisType.Explicit
KINDS = {
    "auto": (AUTO, AUTO),
    "explicit": (EXPLICIT, EXPLICIT),
    "auto and explicit": (AUTO, EXPLICIT),
    "explicit and auto": (EXPLICIT, AUTO),
}


def make_mesh(sizes, kinds):
    names = ("a", "b")[: len(sizes)]
    return jax.make_mesh(sizes, names, axis_types=kinds[: len(sizes)])


def placements(sizes):
    """Each of three axes sharded in turn, and on a 2-d mesh the next one with it."""
    spec = ["a", None, None] if len(sizes) == 1 else ["a", "b", None]
    return [P(*spec[-turn:], *spec[:-turn]) for turn in range(3)]


@functools.cache
def kept(shape, words=(0, 4, 0, 4)):
    return oracle.mask(words, shape, RATE)


def ones(mesh, spec, shape=SHAPE):
    return jax.device_put(jnp.ones(shape), NamedSharding(mesh, spec))


def drop(x, key=KEY, **options):
    return jdrop.dropout(key, x, RATE, **options)


def slopes(f, x):
    return jax.grad(lambda x: f(x).sum())(x)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_every_axis_in_turn(kind, sizes):
    mesh = make_mesh(sizes, KINDS[kind])
    program = jax.jit(drop)
    with jax.set_mesh(mesh):
        for spec in placements(sizes):
            y = program(ones(mesh, spec))
            np.testing.assert_array_equal(y > 0, kept(SHAPE))


@pytest.mark.parametrize("kind", ["auto and explicit", "explicit and auto"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_axes_of_two_kinds(case, kind):
    mesh = make_mesh((4, 2), KINDS[kind])
    with jax.set_mesh(mesh):
        for spec in (P("a", "b"), P(None, "b", "a")):
            x = ones(mesh, spec)
            y, slope = jax.jit(
                lambda x: (
                    case.op(KEY, 3 * x, RATE),
                    slopes(lambda x: case.op(KEY, x, RATE), x),
                )
            )(x)
            assert y.sharding.is_equivalent_to(x.sharding, 3)
            np.testing.assert_array_equal(y > 0, kept(SHAPE))
            np.testing.assert_array_equal(slope > 0, kept(SHAPE))


@pytest.mark.parametrize("kind", KINDS)
def test_words_placed_by_their_user(kind):
    """The words are a plain array: whoever asks gets them in pieces."""
    mesh = make_mesh((4, 2), KINDS[kind])
    expected = oracle.words([0, 4, 0, 4], SHAPE, RATE)
    for spec in (P("a"), P("b"), P(None, "a")):
        place = NamedSharding(mesh, spec)
        sample = jax.jit(
            lambda: jdrop.sample_mask(KEY, SHAPE, RATE).words, out_shardings=place
        )
        words = sample()
        assert words.sharding.is_equivalent_to(place, 2)
        np.testing.assert_array_equal(words, expected)


@pytest.mark.parametrize("shape", [(9, 3, 11), (7, 45), (3, 5, 70), (13,)])
def test_sizes_that_no_mesh_divides(shape):
    """Inside a program an axis of any size can be sharded: its shards are padded."""
    mesh = make_mesh((4, 2), KINDS["auto"])
    for axis in range(len(shape)):
        place = NamedSharding(mesh, P(*[None] * axis, "a"))

        @jax.jit
        def f(x, place=place):
            x = lax.with_sharding_constraint(x, place)
            return lax.with_sharding_constraint(drop(x), place)

        np.testing.assert_array_equal(f(jnp.ones(shape)) > 0, kept(shape))


@pytest.mark.parametrize("kind", KINDS)
def test_eager_without_a_mesh_around(kind):
    mesh = make_mesh((4, 2), KINDS[kind])
    x = ones(mesh, P("a", "b"))
    for y in (drop(x), jax.jit(drop)(x), jax.vjp(drop, x)[1](x)[0]):
        assert y.sharding.is_equivalent_to(x.sharding, 3)
        np.testing.assert_array_equal(y > 0, kept(SHAPE))


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_vmap_over_a_sharded_axis(kind):
    """A batch of keys beside a batch of x, both cut the same way."""
    mesh = make_mesh((4, 2), KINDS[kind])
    keys = jax.random.split(KEY, 4)
    expected = [
        kept(SHAPE, tuple(words)) for words in jax.random.key_data(keys).tolist()
    ]
    with jax.set_mesh(mesh):
        for spec in (P("a"), P("a", "b"), P("a", None, None, "b")):
            x = ones(mesh, spec, (4, *SHAPE))
            placed = jax.device_put(keys, NamedSharding(mesh, P("a")))
            y = jax.jit(jax.vmap(lambda key, x: drop(x, key)))(placed, x)
            np.testing.assert_array_equal(y > 0, expected)
