"""Under shard_map and pmap, whose shards pass an offset."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, RATE, kept, key_words
from jax import lax
from jax.sharding import PartitionSpec as P
from meshes import KINDS, make_mesh, place

import jdrop

SHAPE = (8, 16, 8)
KEPT = kept(shape=SHAPE)


def drop(x, key=KEY, **options):
    return jdrop.dropout(key, x, RATE, **options)


def over_first_axis():
    """Two examples on each of four devices, mapped by hand over the axis "a" alone."""
    return jax.shard_map(
        lambda x: drop(x, offset=2 * lax.axis_index("a")),
        in_specs=P("a"),
        out_specs=P("a"),
        axis_names={"a"},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_shard_map_over_one_axis_of_two(kind):
    """The other axis stays to the compiler, or in the types."""
    mesh = make_mesh((4, 2), kind)
    with jax.set_mesh(mesh):
        y = jax.jit(over_first_axis())(place(jnp.ones(SHAPE), mesh, P("a", "b")))
        np.testing.assert_array_equal(y > 0, KEPT)


@pytest.mark.parametrize("kind", KINDS)
def test_grad_of_shard_map_over_one_axis_of_two(kind):
    mesh = make_mesh((4, 2), kind)
    with jax.set_mesh(mesh):
        f = over_first_axis()
        x = place(jnp.ones(SHAPE), mesh, P("a", "b"))
        slope = jax.jit(jax.grad(lambda x: f(x).sum()))(x)
        np.testing.assert_array_equal(slope > 0, KEPT)


@pytest.mark.parametrize("check", [True, False])
def test_shard_map_over_two_axes(check):
    @jax.shard_map(
        mesh=make_mesh((4, 2), "auto"),
        in_specs=P(("a", "b")),
        out_specs=P(("a", "b")),
        check_vma=check,
    )
    def f(x):
        return drop(x, offset=2 * lax.axis_index("a") + lax.axis_index("b"))

    np.testing.assert_array_equal(f(jnp.ones(SHAPE)) > 0, KEPT)


def test_shard_map_whose_arguments_vary_or_do_not():
    """The key, x and the offset, each the same on all devices or not."""
    mesh = make_mesh((8,), "auto")
    keys = jax.random.split(KEY, 8)
    by_key = [kept(tuple(key_words(key)), (1, *SHAPE[1:]))[0] for key in keys]

    def expect(places, f, specs, *arguments):
        y = jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=P("a"))(*arguments)
        np.testing.assert_array_equal(y > 0, places)

    def by_device(x):
        return drop(x, offset=lax.axis_index("a"))

    def with_own_key(key, x):
        return drop(x, key[0])

    x = jnp.ones(SHAPE)
    expect(KEPT, by_device, P("a"), x)
    expect(KEPT, by_device, P(), x[:1])
    expect(np.stack([KEPT[0]] * 8), drop, P("a"), x)
    expect(by_key, with_own_key, (P("a"), P("a")), keys, x)
    expect(by_key, with_own_key, (P("a"), P()), keys, x[:1])

    def with_own_rate(x, rate):
        return jdrop.dropout(KEY, x, rate[0], offset=lax.axis_index("a"))

    expect(KEPT, with_own_rate, (P("a"), P("a")), x, jnp.full(8, RATE))


def test_pmap_over_some_devices():
    f = jax.pmap(
        lambda x: drop(x, offset=2 * lax.axis_index("i")),
        axis_name="i",
        devices=jax.devices()[3:7],
    )
    y = f(jnp.ones((4, 2, *SHAPE[1:])))
    np.testing.assert_array_equal(y.reshape(SHAPE) > 0, KEPT)
