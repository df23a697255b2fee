"""The same mask on a mesh: no communication, and each device draws its share."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jdrop
from jdrop._stream import words_shape

KEY = jax.random.key(0)
SHAPE = (64, 512)
X = jax.random.normal(jax.random.key(1), SHAPE)
COLLECTIVE = re.compile(r"all-gather|all-reduce|all-to-all|collective|reduce-scatter")
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
PLACEMENTS = [
    ((2,), P("a")),
    ((8,), P("a")),
    ((8,), P(None, "a")),
    ((4, 2), P("a")),
    ((4, 2), P("a", "b")),
    ((4, 2), P("b", "a")),
    ((2, 4), P(None, ("a", "b"))),
    ((2, 4), P(("a", "b"))),
]


def make_mesh(sizes, kind):
    names = ("a", "b")[: len(sizes)]
    return jax.make_mesh(sizes, names, axis_types=(KINDS[kind],) * len(sizes))


def words_drawn(text):
    """The sizes of the uint32 arrays that the rounds of the compiled program fill."""
    return {
        int(np.prod([int(n) for n in dims.split(",")]))
        for dims in re.findall(r"u32\[([\d,]+)\][^=\n]* xor\(", text)
        if dims.count(",")
    }


@pytest.mark.parametrize(("sizes", "spec"), PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mesh_draws_the_same_without_a_word_between_devices(case, kind, sizes, spec):
    def square(key, x):
        y, pullback = jax.vjp(lambda x: case.op(key, x, 0.3), x)
        return y, pullback(y)[0]

    expected = jax.jit(square)(KEY, X)
    mesh = make_mesh(sizes, kind)
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, spec))
        program = jax.jit(square).lower(KEY, x).compile()
        text = program.as_text()
        assert not COLLECTIVE.search(text)
        parts = np.prod(SHAPE) // np.prod(x.sharding.shard_shape(SHAPE))
        assert max(words_drawn(text)) == np.prod(words_shape(SHAPE)) // parts
        for got, whole in zip(program(KEY, x), expected, strict=True):
            assert got.sharding.is_equivalent_to(x.sharding, 2)
            np.testing.assert_allclose(got, whole, rtol=5e-7, atol=5e-7)
        np.testing.assert_allclose(
            case.op(KEY, x, 0.3), expected[0], rtol=5e-7, atol=5e-7
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sharded_broadcast_axis(case, kind):
    """flax.nnx fails here: flax issue 5209."""
    mesh = make_mesh((8,), kind)
    for dims in [(0,), (1,)]:
        f = jax.jit(functools.partial(case.op, rate=0.3, broadcast_dims=dims))
        expected = f(KEY, X)
        with jax.set_mesh(mesh):
            for spec in (P("a"), P(None, "a")):
                x = jax.device_put(X, NamedSharding(mesh, spec))
                np.testing.assert_allclose(f(KEY, x), expected, rtol=5e-7, atol=5e-7)


@pytest.mark.parametrize("shape", [(8, 40), (16, 5), (8, 6, 16), (8, 9, 8, 4), (24,)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_axes_that_do_not_divide_into_words(case, kind, shape):
    mesh = make_mesh((8,), kind)
    x = jax.random.normal(jax.random.key(2), shape)
    expected = case.op(KEY, x, 0.3)
    with jax.set_mesh(mesh):
        for axis in range(len(shape)):
            if shape[axis] % 8 == 0:
                spec = P(*[None] * axis, "a")
                placed = jax.device_put(x, NamedSharding(mesh, spec))
                y = jax.jit(lambda x: case.op(KEY, x, 0.3))(placed)
                np.testing.assert_allclose(y, expected, rtol=5e-7, atol=5e-7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_shard_map_with_offset_is_the_whole(case):
    mesh = make_mesh((8,), "auto")
    rows = SHAPE[0] // 8

    @jax.shard_map(mesh=mesh, in_specs=P("a"), out_specs=P("a"))
    def f(x):
        return case.op(KEY, x, 0.3, offset=lax.axis_index("a") * rows)

    np.testing.assert_allclose(f(X), case.op(KEY, X, 0.3), rtol=5e-7, atol=5e-7)
    slope = jax.grad(lambda x: f(x).sum())(X)
    expected = jax.grad(lambda x: case.op(KEY, x, 0.3).sum())(X)
    np.testing.assert_allclose(slope, expected, rtol=5e-7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_shard_map_with_a_key_a_shard(case):
    mesh = make_mesh((8,), "auto")
    keys = jax.random.split(KEY, 8)

    @jax.shard_map(mesh=mesh, in_specs=(P("a"), P()), out_specs=P("a"))
    def f(key, x):
        return case.op(key[0], x, 0.3)

    expected = jnp.concatenate([case.op(key, X, 0.3) for key in keys])
    np.testing.assert_allclose(f(keys, X), expected, rtol=5e-7, atol=5e-7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pmap_with_offset_is_the_whole(case):
    f = jax.pmap(lambda first, x: case.op(KEY, x, 0.3, offset=first))
    y = f(jnp.arange(0, 64, 8), X.reshape(8, 8, 512)).reshape(SHAPE)
    np.testing.assert_allclose(y, case.op(KEY, X, 0.3), rtol=5e-7, atol=5e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_applied_where_x_is(kind):
    mask = jdrop.sample_mask(KEY, SHAPE, 0.3)
    mesh = make_mesh((8,), kind)
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, P(None, "a")))
        y = jax.jit(jdrop.apply_mask)(mask, x)
        assert y.sharding.is_equivalent_to(x.sharding, 2)
    np.testing.assert_array_equal(y, jdrop.dropout(KEY, X, 0.3))
