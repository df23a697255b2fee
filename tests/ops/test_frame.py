"""The frame of an op: when it asks for a key, what it passes on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jdrop
from jdrop._mask import draw_mask, scale_kept
from jdrop._op import Op, apply

KEY = jax.random.key(3)
SHAPE = (8, 40)
X = jax.random.normal(jax.random.key(4), SHAPE) + 3
Y = jax.random.normal(jax.random.key(5), SHAPE) - 3


def run(op, *arrays, rate=0.3, key=KEY, **options):
    return apply(op, key, arrays, rate, **{"deterministic": False, **options})


DROPOUT = Op("dropout", scale_kept)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, 1),
        ({"rate": 0.0}, 0),
        ({"rate": 1.0}, 0),
        ({"deterministic": True}, 0),
        ({"rate": jnp.float32(1)}, 0),
    ],
)
def test_a_key_is_asked_for_only_where_it_is_needed(options, asked):
    calls = []

    def key():
        calls.append(1)
        return KEY

    given = run(DROPOUT, X, key=KEY, **options)
    np.testing.assert_array_equal(run(DROPOUT, X, key=key, **options), given)
    assert len(calls) == asked


@pytest.mark.parametrize("beyond", [2**-33, 5.6e-17, 2e-16])
def test_a_rate_that_rounds_to_an_end_is_that_end(beyond):
    assert run(DROPOUT, X, rate=-beyond, key=None) is X
    zeros = run(DROPOUT, X, rate=1 + beyond, key=None)
    np.testing.assert_array_equal(zeros, jnp.zeros_like(X))
    assert jdrop.sample_mask(KEY, SHAPE, 1 + beyond).rate == 1


def test_no_rate_is_needed_where_the_arrays_are_left_alone():
    assert run(DROPOUT, X, rate=None, deterministic=True) is X
    with pytest.raises(TypeError, match="got NoneType None. Pass a float"):
        jdrop.zoneout(None, X, Y, None, deterministic=True)
    with pytest.raises(TypeError, match="got NoneType None. Pass a float"):
        jax.jit(lambda rest: run(DROPOUT, X, rate=None, deterministic=rest))(True)


def test_a_traced_rate_or_mode_asks_for_the_key():
    def key():
        return KEY

    traced = jax.jit(
        lambda rate, rest: run(DROPOUT, X, rate=rate, deterministic=rest, key=key)
    )
    np.testing.assert_allclose(traced(0.3, False), run(DROPOUT, X), rtol=1e-6)
    np.testing.assert_array_equal(traced(0.3, True), X)
    np.testing.assert_array_equal(traced(1.0, False), jnp.zeros_like(X))


def test_a_traced_mode_keeps_the_schedule_of_a_known_rate():
    """Its words are drawn as those of a number: the rate is not folded into it."""
    seen = []

    def draw(key, shape, offset, rate):
        seen.append(rate.pairs)
        return draw_mask(key, shape, offset, rate)

    op = Op("spy", scale_kept, draw)
    jax.jit(lambda rest: run(op, X, rate=0.5, deterministic=rest))(False)
    assert seen == [1]


def test_several_arrays_under_explicit_axes():
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2)
    place = NamedSharding(mesh, P("a", "b"))
    x, y = jax.device_put(X, place), jax.device_put(Y, place)
    got = jax.jit(lambda x, y: jdrop.zoneout(KEY, x, y, 0.3))(x, y)
    assert got.sharding.is_equivalent_to(place, 2)
    np.testing.assert_array_equal(got, jdrop.zoneout(KEY, X, Y, 0.3))


def test_several_arrays_are_checked():
    with pytest.raises(TypeError, match="zoneout .* got dtype int32"):
        jdrop.zoneout(KEY, jnp.arange(3), jnp.arange(3), 0.3)
    with pytest.raises(ValueError, match=r"one shape; got .* \(8, 40\) .* \(8,\)"):
        jdrop.zoneout(KEY, X, X[:, 0], 0.3)
    with pytest.raises(TypeError, match="one dtype; got .* float32 .* float16"):
        jdrop.zoneout(KEY, X, X.astype(jnp.float16), 0.3)
