"""The dropped places of every op and of its derivatives, against the oracle."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import CASES
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

# A key whose own generator is another under vmap, and in sharded programs.
KEY = jax.random.key(5, impl="rbg")
SHAPE, RATE = (8, 3, 20), 0.3
# What an op keeps of it stays above 0, and what it drops does not.
X = jnp.full(SHAPE, 3.0)


def kept_by_oracle(key):
    return oracle.mask(jax.random.key_data(key).tolist(), SHAPE, RATE)


def slopes(f):
    """The derivative of every element by its own input, which is 0 where it drops."""
    return jax.grad(lambda x: f(x).sum())


def beside_another(key):
    return jnp.stack([jax.random.fold_in(key, 1), key])


def of_pairs(f):
    """`f(key, x, first)` over examples two at a time, by a scan that counts them."""

    def step(first, key, x):
        return first + 2, f(key, x, first)

    def scanned(key, x):
        pairs = x.reshape(4, 2, *SHAPE[1:])
        y = lax.scan(lambda first, x: step(first, key, x), 0, pairs)[1]
        return y.reshape(SHAPE)

    return scanned


def in_shard_map(f):
    """`f(key, x, first)` on four devices, two examples each."""
    return jax.shard_map(
        lambda key, x: f(key, x, 2 * lax.axis_index("a")),
        mesh=jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,)),
        in_specs=(P(), P("a")),
        out_specs=P("a"),
    )


def exported(f):
    """`f(x)` lowered for every platform with its derivative, written and read again."""
    platforms = ("cpu", "cuda", "rocm", "tpu")
    program = jax.export.export(jax.jit(f), platforms=platforms)(X)
    return jax.export.deserialize(program.serialize(vjp_order=1)).call


def exported_for_any_batch(f, key):
    """Exported with a symbolic number of examples, and of rows in each."""
    shape = jax.export.symbolic_shape("n, m, 20")
    program = jax.export.export(jax.jit(functools.partial(f, key)))(
        jax.ShapeDtypeStruct(shape, X.dtype)
    )
    return jax.export.deserialize(program.serialize()).call


def slopes_by_linearize(f):
    pushforward = jax.linearize(f, X)[1]
    return jax.linear_transpose(pushforward, X)(jnp.ones_like(X))[0]


PLACES = {
    "value": lambda f, key: f(key, X),
    "jit": lambda f, key: jax.jit(f)(key, X),
    "scan": lambda f, key: of_pairs(f)(key, X),
    "shard_map": lambda f, key: in_shard_map(f)(key, X),
    "vmap over keys": lambda f, key: jax.vmap(f, in_axes=(0, None))(
        beside_another(key), X
    )[1],
    "export": lambda f, key: exported(functools.partial(f, key))(X),
    "export for any batch": lambda f, key: exported_for_any_batch(f, key)(X),
    "grad": lambda f, key: slopes(functools.partial(f, key))(X),
    "jit of grad": lambda f, key: jax.jit(slopes(functools.partial(f, key)))(X),
    "grad of jit": lambda f, key: slopes(functools.partial(jax.jit(f), key))(X),
    "grad of remat": lambda f, key: slopes(functools.partial(jax.checkpoint(f), key))(
        X
    ),
    "jit of grad of remat": lambda f, key: jax.jit(
        slopes(functools.partial(jax.checkpoint(f), key))
    )(X),
    "jvp": lambda f, key: jax.jvp(functools.partial(f, key), (X,), (jnp.ones_like(X),))[
        1
    ],
    "linearize": lambda f, key: slopes_by_linearize(functools.partial(f, key)),
    "grad of scan": lambda f, key: slopes(functools.partial(of_pairs(f), key))(X),
    "scan of grad": lambda f, key: of_pairs(
        lambda key, x, first: slopes(lambda x: f(key, x, first))(x)
    )(key, X),
    "grad of vmap": lambda f, key: slopes(
        lambda x: jax.vmap(f, in_axes=(0, None))(beside_another(key), x)[1]
    )(X),
    "vmap of grad": lambda f, key: jax.vmap(
        lambda key: slopes(functools.partial(f, key))(X)
    )(beside_another(key))[1],
    "grad of shard_map": lambda f, key: slopes(functools.partial(in_shard_map(f), key))(
        X
    ),
    "grad in shard_map": lambda f, key: in_shard_map(
        lambda key, x, first: slopes(lambda x: f(key, x, first))(x)
    )(key, X),
    "grad of export": lambda f, key: slopes(exported(functools.partial(f, key)))(X),
}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_places(case, places):
    def f(key, x, first=0):
        return case.op(key, x, RATE, offset=first)

    np.testing.assert_array_equal(PLACES[places](f, KEY) > 0, kept_by_oracle(KEY))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_remat_of_a_scan_of_layers_draws_the_same_again(case):
    """The backward pass draws each layer's mask anew, in other programs than before."""
    keys = jax.random.split(KEY, 3)

    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable)
    def layer(x, key):
        return case.op(key, x, RATE), None

    got = jax.jit(slopes(lambda x: lax.scan(layer, x, keys)[0]))(X)
    np.testing.assert_array_equal(
        got > 0, np.logical_and.reduce([kept_by_oracle(key) for key in keys])
    )
