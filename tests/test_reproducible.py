"""The packed words under every transform, with every key, against the oracle."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import KEY_IMPLEMENTATIONS
from jax import lax
from jax.experimental import serialize_executable
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jdrop

ROWS, ROW = 8, (3, 20)
RATE = 0.1
FIRSTS = range(0, ROWS, 2)
KEYS = {kind: jax.random.key(11, impl=kind) for kind in KEY_IMPLEMENTATIONS}
KEYS["legacy"] = jax.random.PRNGKey(11)


def is_typed(key):
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def key_words(key):
    return (jax.random.key_data(key) if is_typed(key) else key).tolist()


def draw(key, rows=ROWS, first=0, rate=RATE):
    """The words of `rows` examples of the batch, from number `first` on."""
    return jdrop.sample_mask(key, (rows, *ROW), rate, offset=first).words


def pair(key, first):
    """Two examples: what each of the split transforms draws at a time."""
    return draw(key, 2, first)


def firsts():
    """The number of the first example of every pair."""
    return jnp.array(FIRSTS)


def joined(words):
    """The words of the batch, from those of its parts along a leading axis."""
    return words.reshape(ROWS, -1)


def beside_another(key):
    """A batch of two keys: another one, then this one."""
    words = key_words(key)
    batch = jnp.array([[word ^ 1 for word in words], words], jnp.uint32)
    if not is_typed(key):
        return batch
    return jax.random.wrap_key_data(batch, impl=jax.random.key_impl(key))


def in_shard_map(function, **options):
    """Maps `function(key, first)` over a mesh of four devices, two examples each."""
    return jax.shard_map(
        lambda key: function(key, 2 * lax.axis_index("a")),
        mesh=jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,)),
        in_specs=P(),
        out_specs=options.pop("out_specs", P("a")),
        **options,
    )


def fill(key):
    """A while loop that carries the offset and fills in the batch two at a time."""

    def body(carry):
        first, words = carry
        start = (first, jnp.zeros_like(first))
        return first + 2, lax.dynamic_update_slice(words, pair(key, first), start)

    words = jnp.zeros((ROWS, 2), jnp.uint32)
    return lax.while_loop(lambda carry: carry[0] < ROWS, body, (0, words))[1]


def exported(key):
    """Lowered for every platform, written, read again, and called with numbers.

    The key goes in as its words: JAX writes typed keys of three implementations only.
    """
    kind = str(jax.random.key_impl(key)) if is_typed(key) else None

    def draw_from_words(words, first, rate):
        key = jax.random.wrap_key_data(words, impl=kind) if kind else words
        return draw(key, ROWS, first, rate)

    arguments = (jnp.array(key_words(key), jnp.uint32), 0, RATE)
    program = jax.export.export(jax.jit(draw_from_words), platforms=PLATFORMS)
    data = program(*arguments).serialize()
    return jax.export.deserialize(data).call(*arguments)


def reloaded(key):
    """Compiled ahead of time, written and read again as an executable."""
    program = jax.jit(draw, static_argnums=1).lower(key, ROWS, 0, RATE).compile()
    load = serialize_executable.deserialize_and_load
    again = load(
        *serialize_executable.serialize(program), execution_devices=jax.devices()[:1]
    )
    return again(key, 0, RATE)


def without_jit(key):
    with jax.disable_jit():
        return draw(key)


@jax.custom_batching.custom_vmap
def with_own_rule(key):
    return draw(key)


@with_own_rule.def_vmap
def _own_rule(size, batched, key):
    return jnp.stack([draw(key[i]) for i in range(size)]), True


PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
TRANSFORMS = {
    "eager": draw,
    "without jit": without_jit,
    "jit": jax.jit(lambda key: draw(key)),
    "jit in jit": jax.jit(lambda key: jax.jit(draw, static_argnums=1)(key, ROWS)),
    "constant": lambda key: jax.jit(lambda: draw(key))(),
    "remat": jax.checkpoint(lambda key: draw(key)),
    "cond": lambda key: lax.cond(True, draw, lambda key: draw(key) * 0, key),
    "vmap over keys": lambda key: jax.vmap(draw)(beside_another(key))[1],
    "vmap over keys and rates": lambda key: jax.vmap(
        lambda key, rate: draw(key, rate=rate)
    )(beside_another(key), jnp.array([0.5, RATE]))[1],
    "vmap by hand": lambda key: jax.vmap(with_own_rule)(beside_another(key))[1],
    "vmap over offsets": lambda key: joined(
        jax.vmap(functools.partial(pair, key))(firsts())
    ),
    "vmap with an axis name": lambda key: joined(
        jax.vmap(
            lambda _: pair(key, 2 * lax.axis_index("i")), axis_name="i", axis_size=4
        )(firsts())
    ),
    "map in batches": lambda key: joined(
        lax.map(functools.partial(pair, key), firsts(), batch_size=3)
    ),
    "scan": lambda key: joined(
        lax.scan(lambda first, _: (first + 2, pair(key, first)), 0, length=4)[1]
    ),
    "while": fill,
    "shard_map": in_shard_map(pair),
    "jit of shard_map": jax.jit(in_shard_map(pair)),
    "shard_map, unchecked": in_shard_map(pair, check_vma=False),
    "vmap in shard_map": lambda key: in_shard_map(
        jax.vmap(pair, in_axes=(0, None)), out_specs=P(None, "a")
    )(beside_another(key))[1],
    "shard_map in vmap": lambda key: jax.vmap(in_shard_map(pair))(beside_another(key))[
        1
    ],
    "pmap": lambda key: joined(jax.pmap(pair, in_axes=(None, 0))(key, firsts())),
    "pmap over keys": lambda key: jax.pmap(draw)(beside_another(key))[1],
    "export": exported,
    "ahead of time": reloaded,
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", KEYS)
def test_words(kind, transform):
    key = KEYS[kind]
    expected = oracle.words(key_words(key), (ROWS, *ROW), RATE)
    words = TRANSFORMS[transform](key)
    assert words.dtype == jnp.uint32
    np.testing.assert_array_equal(words, expected)
