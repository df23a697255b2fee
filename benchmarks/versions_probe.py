"""What `benchmarks.versions` runs inside each environment; it prints one JSON object.

    python -I versions_probe.py checks     one entry a check: null, or why it failed
    python -I versions_probe.py masks      short hashes of masks, under the flags set

Every import of jdrop and Flax is inside a function: one that fails is a finding.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

SEED = 42
SHAPE = (64, 96)
RATE = 0.1

# Every implementation that any version of `jax.random` has.
IMPLEMENTATIONS = (
    "threefry2x32",
    "threefry4x32",
    "philox2x32",
    "philox4x32",
    "rbg",
    "unsafe_rbg",
)


def short_hash(y: Any) -> str:
    """First 8 hexadecimal digits of the SHA-256 of where y is kept, packed to bits."""
    return hashlib.sha256(np.packbits(np.asarray(y) != 0).tobytes()).hexdigest()[:8]


def ones() -> jax.Array:
    """An input whose output shows the mask."""
    return jnp.ones(SHAPE, jnp.float32)


def drop(key: jax.Array, x: jax.Array) -> jax.Array:
    """The function that every check is about."""
    import jdrop

    return jdrop.dropout(key, x, RATE)


def equal(actual: Any, wanted: Any) -> None:
    """Raises unless two arrays agree bit for bit."""
    np.testing.assert_array_equal(np.asarray(actual), np.asarray(wanted))


def check_transforms() -> None:
    """Compares jit, vmap, scan, remat, grad and a traced rate with the plain call."""
    import jdrop

    keys, x = jax.random.split(jax.random.key(SEED), 3), ones()
    wanted = jnp.stack([drop(key, x) for key in keys])
    equal(jax.jit(drop)(keys[0], x), wanted[0])
    equal(jax.vmap(drop, (0, None))(keys, x), wanted)
    equal(jax.lax.scan(lambda c, key: (c, drop(key, x)), 0, keys)[1], wanted)
    equal(jax.checkpoint(drop)(keys[0], x), wanted[0])
    equal(jax.grad(lambda x: drop(keys[0], x).sum())(x), wanted[0])
    equal(jax.jit(jdrop.dropout)(keys[0], x, jnp.float32(RATE)), wanted[0])


def check_export() -> None:
    """Compares a program that was exported, serialised and read again."""
    from jax import export

    x, legacy = ones(), jax.random.PRNGKey(SEED)
    exported = export.export(jax.jit(drop))(legacy, x)
    equal(export.deserialize(exported.serialize()).call(legacy, x), drop(legacy, x))


def check_mesh(**options: Any) -> None:
    """Compares a mask drawn by all devices with the mask drawn by one."""
    key, x = jax.random.key(SEED), ones()
    mesh = jax.make_mesh((len(jax.devices()),), ("d",), **options)
    for spec in (PartitionSpec("d"), PartitionSpec(None, "d")):
        sharded = jax.device_put(x, NamedSharding(mesh, spec))
        y = jax.jit(drop)(key, sharded)
        equal(y, drop(key, x))
        assert y.sharding.is_equivalent_to(sharded.sharding, y.ndim), y.sharding


def check_auto() -> None:
    """A mesh as every version makes it, which it passes to the compiler."""
    axis_type = getattr(jax.sharding, "AxisType", None)
    check_mesh(**({"axis_types": (axis_type.Auto,)} if axis_type else {}))


def check_explicit() -> None:
    """A mesh whose axes are part of an array's type."""
    check_mesh(axis_types=(jax.sharding.AxisType.Explicit,))


def check_linen() -> None:
    """The linen module is the function."""
    import jdrop.linen

    key, x = jax.random.key(SEED), ones()
    module = jdrop.linen.Dropout(RATE, deterministic=False)
    equal(module.apply({}, x, rng=key), drop(key, x))


def check_nnx() -> None:
    """The nnx module is the function, and a model switches it."""
    from flax import nnx

    import jdrop.nnx

    key, x = jax.random.key(SEED), ones()
    module = jdrop.nnx.Dropout(RATE, rngs=nnx.Rngs(SEED))
    equal(module(x, rngs=key), drop(key, x))
    assert short_hash(module(x)) != short_hash(module(x)), "a key was used twice"
    module.eval()
    equal(module(x), x)
    module.train()
    equal(nnx.jit(lambda module, x: module(x, rngs=key))(module, x), drop(key, x))


CHECKS: dict[str, Callable[[], None]] = {
    "transforms": check_transforms,
    "export": check_export,
    "auto": check_auto,
    "explicit": check_explicit,
    "linen": check_linen,
    "nnx": check_nnx,
}


def draw_linen(key: jax.Array) -> jax.Array:
    """The mask of `flax.linen.Dropout` for exactly this key."""
    import flax.linen

    module: Any = flax.linen.Dropout(RATE, deterministic=False)
    return module.apply({}, ones(), rng=key)


def draw_nnx(module: Any, key: jax.Array) -> jax.Array:
    """The first mask of an nnx module whose stream of keys starts from this key."""
    from flax import nnx

    return module(RATE, rngs=nnx.Rngs(dropout=key))(ones())


def draw_flax_nnx(key: jax.Array) -> jax.Array:
    """The mask of `flax.nnx.Dropout` for the first key of a stream."""
    from flax import nnx

    return draw_nnx(nnx.Dropout, key)


def draw_jdrop_nnx(key: jax.Array) -> jax.Array:
    """The mask of `jdrop.nnx.Dropout` for the first key of a stream."""
    import jdrop.nnx

    return draw_nnx(jdrop.nnx.Dropout, key)


CONTESTANTS = {
    "jdrop": lambda key: drop(key, ones()),
    "flax.linen": draw_linen,
    "flax.nnx": draw_flax_nnx,
    "jdrop.nnx": draw_jdrop_nnx,
}


def reason(function: Callable[[], Any]) -> str | None:
    """Runs a check: None, or the first line of what went wrong."""
    try:
        function()
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return f"{type(error).__name__}: {first}"
    return None


def hash_for(draw: Callable[[jax.Array], jax.Array], impl: str) -> str | None:
    """The hash of a mask, or None where this version cannot draw it."""
    try:
        return short_hash(draw(jax.random.key(SEED, impl=impl)))
    except Exception:
        return None


def main() -> None:
    """Prints the checks or the masks."""
    if sys.argv[1] == "checks":
        found: Any = {name: reason(check) for name, check in CHECKS.items()}
    else:
        found = {
            name: {impl: hash_for(draw, impl) for impl in IMPLEMENTATIONS}
            for name, draw in CONTESTANTS.items()
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
