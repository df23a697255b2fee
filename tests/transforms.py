"""The table of transforms: each way of JAX to run a function, whole or in parts.

A transform takes `f(key, x, first=0, rate=RATE)`, a key or a tree of keys, and x. It
returns what f gives for all rows of x, where `first` is the number of the first row
that f is handed. The results of f have the rows of x, or are trees of such.
"""

import functools
import operator

import jax
import jax.export
import jax.numpy as jnp
from cases import RATE, is_typed
from jax import lax
from jax.experimental import serialize_executable
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def beside_another(keys):
    """For each key of a tree, a batch of two: another one, then this one."""
    return jax.tree.map(_beside_another, keys)


def _beside_another(key):
    words = jax.random.key_data(key) if is_typed(key) else key
    batch = jnp.stack([words ^ jnp.uint32(1), words])
    if not is_typed(key):
        return batch
    return jax.random.wrap_key_data(batch, impl=jax.random.key_impl(key))


def second(tree):
    """What `beside_another` gave for the key itself."""
    return jax.tree.map(lambda y: y[1], tree)


def pairs(x):
    """Two rows at a time, and the number of the first of each pair."""
    return x.reshape(-1, 2, *x.shape[1:]), jnp.arange(0, x.shape[0], 2)


def joined(tree):
    """The rows of all parts, which lie along a leading axis."""
    return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), tree)


def _without_jit(f, key, x):
    with jax.disable_jit():
        return f(key, x)


def _cond(f, key, x):
    def zeros(key, x):
        return jax.tree.map(jnp.zeros_like, f(key, x))

    return lax.cond(True, lambda key, x: f(key, x), zeros, key, x)


def _vmap_over_keys_and_rates(f, key, x):
    mapped = jax.vmap(lambda key, rate: f(key, x, rate=rate))
    return second(mapped(beside_another(key), jnp.array([0.5, RATE])))


def _vmap_with_an_axis_name(f, key, x):
    mapped = jax.vmap(lambda x: f(key, x, 2 * lax.axis_index("i")), axis_name="i")
    return joined(mapped(pairs(x)[0]))


def _vmap_by_hand(f, key, x):
    @jax.custom_batching.custom_vmap
    def call(key):
        return f(key, x)

    @call.def_vmap
    def _rule(size, batched, keys):
        each = [jax.tree.map(operator.itemgetter(i), keys) for i in range(size)]
        parts = [f(key, x) for key in each]
        whole = jax.tree.map(lambda *parts: jnp.stack(parts), *parts)
        return whole, jax.tree.map(lambda _: True, whole)

    return second(jax.vmap(call)(beside_another(key)))


def _scan(f, key, x):
    def step(first, pair):
        return first + 2, f(key, pair, first)

    return joined(lax.scan(step, 0, pairs(x)[0])[1])


def _while(f, key, x):
    """A loop that carries the offset and fills in the whole two rows at a time."""
    parts, firsts = pairs(x)

    def body(carry):
        i, whole = carry
        part = f(key, parts[i], firsts[i])
        update = functools.partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        return i + 1, jax.tree.map(lambda whole, part: update(whole, part), whole, part)

    part = jax.eval_shape(f, key, parts[0])
    whole = jax.tree.map(lambda y: jnp.zeros((len(parts), *y.shape), y.dtype), part)
    start = (0, whole)
    return joined(lax.while_loop(lambda carry: carry[0] < len(parts), body, start)[1])


def _in_shard_map(f, **options):
    """`f` on four devices, two rows each."""
    return jax.shard_map(
        lambda key, x: f(key, x, 2 * lax.axis_index("a")),
        mesh=jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,)),
        in_specs=(P(), P("a")),
        out_specs=options.pop("out_specs", P("a")),
        **options,
    )


def _vmap_in_shard_map(f, key, x):
    mapped = jax.vmap(f, in_axes=(0, None, None))
    mapped = _in_shard_map(mapped, out_specs=P(None, "a"))
    return second(jax.jit(mapped)(beside_another(key), x))


def _shard_map_in_vmap(f, key, x):
    mapped = jax.vmap(_in_shard_map(f), in_axes=(0, None))
    return second(jax.jit(mapped)(beside_another(key), x))


def _export(f, key, x):
    """Lowered for every platform with its derivative, written, and read again.

    The keys go in as their words: JAX writes typed keys of three implementations only.
    """
    leaves, tree = jax.tree.flatten(key)
    kinds = [str(jax.random.key_impl(k)) if is_typed(k) else None for k in leaves]
    words = [jax.random.key_data(k) if is_typed(k) else k for k in leaves]

    def from_words(words, x):
        keys = [
            jax.random.wrap_key_data(w, impl=kind) if kind else w
            for w, kind in zip(words, kinds, strict=True)
        ]
        return f(jax.tree.unflatten(tree, keys), x)

    program = jax.export.export(jax.jit(from_words), platforms=PLATFORMS)(words, x)
    return jax.export.deserialize(program.serialize(vjp_order=1)).call(words, x)


def _ahead_of_time(f, key, x):
    """Compiled, written and read again as an executable."""
    program = jax.jit(f).lower(key, x).compile()
    load = serialize_executable.deserialize_and_load
    written = serialize_executable.serialize(program)
    return load(*written, execution_devices=jax.devices()[:1])(key, x)


TRANSFORMS = {
    "eager": lambda f, key, x: f(key, x),
    "without jit": _without_jit,
    "jit": lambda f, *args: jax.jit(f)(*args),
    "jit in jit": lambda f, *args: jax.jit(lambda *args: jax.jit(f)(*args))(*args),
    "constant key": lambda f, key, x: jax.jit(lambda x: f(key, x))(x),
    "remat": lambda f, *args: jax.checkpoint(f)(*args),
    "jit of remat": lambda f, *args: jax.jit(jax.checkpoint(f))(*args),
    "cond": _cond,
    "vmap over keys": lambda f, key, x: second(
        jax.vmap(f, in_axes=(0, None))(beside_another(key), x)
    ),
    "vmap over keys and rates": _vmap_over_keys_and_rates,
    "vmap over rows": lambda f, key, x: joined(
        jax.vmap(f, in_axes=(None, 0, 0))(key, *pairs(x))
    ),
    "vmap with an axis name": _vmap_with_an_axis_name,
    "vmap by hand": _vmap_by_hand,
    "map in batches": lambda f, key, x: joined(
        lax.map(lambda pair: f(key, *pair), pairs(x), batch_size=3)
    ),
    "scan": _scan,
    "while": _while,
    "shard_map": lambda f, *args: _in_shard_map(f)(*args),
    "jit of shard_map": lambda f, *args: jax.jit(_in_shard_map(f))(*args),
    "shard_map, unchecked": lambda f, *args: jax.jit(_in_shard_map(f, check_vma=False))(
        *args
    ),
    "vmap in shard_map": _vmap_in_shard_map,
    "shard_map in vmap": _shard_map_in_vmap,
    "pmap": lambda f, key, x: joined(jax.pmap(f, in_axes=(None, 0, 0))(key, *pairs(x))),
    "pmap over keys": lambda f, key, x: second(
        jax.pmap(f, in_axes=(0, None))(beside_another(key), x)
    ),
    "export": _export,
    "ahead of time": _ahead_of_time,
}
# JAX has no reverse derivative of these.
FORWARD_ONLY = {"while", "vmap by hand", "ahead of time"}
