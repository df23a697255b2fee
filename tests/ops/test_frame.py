"""The frame of an op, shown on ops that the library does not have yet."""

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


def bits(shape=SHAPE, rate=0.3, key=KEY, **options):
    return jdrop.sample_mask(key, shape, rate, **options).to_bool()


def zoneout_law(mask, new, old):
    return jnp.where(mask.to_bool(), new, old)


def zoneout_at_rest(rate, new, old):
    return rate * old + (1 - rate) * new


ZONEOUT = Op("zoneout", zoneout_law, at_rest=zoneout_at_rest)


def test_a_law_over_two_arrays():
    got = run(ZONEOUT, X, Y)
    np.testing.assert_array_equal(got, jnp.where(bits(), X, Y))
    by_new, by_old = jax.grad(lambda x, y: run(ZONEOUT, x, y).sum(), (0, 1))(X, Y)
    np.testing.assert_array_equal(by_new, bits())
    np.testing.assert_array_equal(by_old, ~bits())


def test_at_rest_it_is_what_the_op_says():
    rate = jdrop.sample_mask(KEY, SHAPE, 0.3).rate
    expected = zoneout_at_rest(rate, X, Y)
    np.testing.assert_allclose(run(ZONEOUT, X, Y, deterministic=True), expected)
    assert not np.array_equal(expected, X)

    @jax.jit
    def traced(deterministic):
        return run(ZONEOUT, X, Y, deterministic=deterministic)

    np.testing.assert_allclose(traced(True), expected, rtol=1e-6)
    np.testing.assert_array_equal(traced(False), run(ZONEOUT, X, Y))


def draw_pairs(key, shape, offset, rate):
    """Rows dropped two at a time: a mask derived from one of half the rows."""
    half = draw_mask(key, (shape[0] // 2, *shape[1:]), offset, rate)
    return jnp.repeat(half.to_bool(), 2, axis=0)


def test_a_mask_derived_from_a_mask():
    op = Op(
        "drop_pairs", lambda kept, x: jnp.where(kept, x, jnp.zeros_like(x)), draw_pairs
    )
    kept = jnp.repeat(bits((4, 40)), 2, axis=0)
    np.testing.assert_array_equal(run(op, X) != 0, kept)


def draw_uniform(key, shape, offset, rate):
    """Noise that is not a mask, and what the law needs of the rate."""
    return jax.random.uniform(key, shape), rate.value


def test_noise_that_is_not_a_mask():
    op = Op("noise", lambda noise, x: x * (1 + noise[1] * noise[0]), draw_uniform)
    noise = jax.random.uniform(KEY, (8, 1))
    rate = jdrop.sample_mask(KEY, SHAPE, 0.3).rate
    got = run(op, X, broadcast_dims=(1,))
    np.testing.assert_allclose(got, X * (1 + rate * noise), rtol=1e-6)


def test_a_rate_whose_gradient_is_wanted_is_an_array():
    def law(noise, x, p):
        return x * (1 - jax.nn.sigmoid(p + noise[0])) / (1 - p)

    op = Op("concrete", law, draw_uniform)
    uniform = jax.random.uniform(KEY, SHAPE)

    def expected(p):
        return law((uniform,), X, p).sum()

    got = jax.grad(lambda p: run(op, X, p).sum())(0.2)
    np.testing.assert_allclose(got, jax.grad(expected)(0.2), rtol=1e-5)
    assert abs(got) > 1


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
        run(ZONEOUT, X, Y, rate=None, deterministic=True)
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
    got = jax.jit(lambda x, y: run(ZONEOUT, x, y))(x, y)
    assert got.sharding.is_equivalent_to(place, 2)
    np.testing.assert_array_equal(got, run(ZONEOUT, X, Y))


def test_every_array_is_checked():
    with pytest.raises(TypeError, match="zoneout .* got dtype int32"):
        run(ZONEOUT, X, jnp.arange(3))
