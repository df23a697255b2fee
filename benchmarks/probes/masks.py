"""What the mask depends on, where it can be drawn, and what it costs."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks.peers.base import Peer
from benchmarks.probes import (
    SHAPE,
    Case,
    Observation,
    drop,
    joined,
    kept,
    number,
    ones,
    outcome,
)

Function = Callable[[Any], Any]

DEVICES = 8
IMPLEMENTATIONS = (
    *("threefry2x32", "threefry4x32", "philox2x32", "philox4x32"),
    *("rbg", "unsafe_rbg"),
)
COLLECTIVES = (
    *("all-gather", "all-reduce", "all-to-all"),
    *("collective-", "reduce-scatter"),
)
SAME = "the same"
ROWS = "those rows' of the whole"


def _same(peer: Peer, a: Any, b: Any, yes: str = SAME) -> str:
    return yes if np.array_equal(kept(peer, a), kept(peer, b)) else "another"


def _under(option: str, first: bool) -> Callable[[Peer], str]:
    """Whether the mask is the same under both values of an option of JAX."""

    def look(peer: Peer) -> str:
        outputs = []
        for value in (first, not first):
            with getattr(jax, option)(value):
                function = peer.transformable(peer.key(0), 0.3)
                outputs.append(kept(peer, function(ones(peer))))
        return SAME if np.array_equal(outputs[0], outputs[1]) else "another"

    return look


def _low_precision(peer: Peer) -> str:
    narrow = drop(peer, 0.3, ones(peer, jnp.bfloat16))
    return _same(peer, drop(peer, 0.3), narrow)


def _transforms(peer: Peer) -> str:
    function, x = peer.transformable(peer.key(0), 0.3), ones(peer)
    outputs = {
        "jit": jax.jit(function)(x),
        "scan": lax.scan(lambda _, x: (None, function(x)), None, x[None])[1][0],
        "remat": jax.grad(lambda x: jax.checkpoint(function)(x).sum())(x),
    }
    whole = function(x)
    changed = [n for n, y in outputs.items() if _same(peer, y, whole) == "another"]
    return f"another in {', '.join(changed)}" if changed else SAME


def _mapped(implementation: str) -> Callable[[Peer], str]:
    def look(peer: Peer) -> str:
        keys = jax.random.split(peer.jax_key(0, implementation), 4)
        batched = jax.vmap(lambda key: peer.drop(key, ones(peer), 0.3))(keys)
        looped = jnp.stack([peer.drop(key, ones(peer), 0.3) for key in keys])
        return _same(peer, batched, looped)

    return look


def _implementations(peer: Peer) -> str:
    peer.jax_key(0)

    def works(make: Callable[[], jax.Array]) -> str:
        share = kept(peer, peer.drop(make(), ones(peer), 0.5)).mean()
        # 1536 fair bits: six standard deviations are 0.077.
        return "works" if abs(share - 0.5) < 0.077 else "another rate"

    makers: dict[str, Callable[[], jax.Array]] = {
        name: functools.partial(peer.jax_key, 0, name) for name in IMPLEMENTATIONS
    }
    makers["legacy"] = lambda: jax.random.PRNGKey(0)
    seen = {name: outcome(functools.partial(works, m)) for name, m in makers.items()}
    failed = [name for name, text in seen.items() if text != "works"]
    return f"not {', '.join(failed)}" if failed else f"all {len(makers)}"


def _prefix(peer: Peer) -> str:
    return _same(peer, drop(peer, 0.3, ones(peer)[:5]), drop(peer, 0.3)[:5], ROWS)


def _offset(peer: Peer) -> str:
    part = drop(peer, 0.3, ones(peer)[5:11], offset=5)
    return _same(peer, part, drop(peer, 0.3)[5:11], ROWS)


def _nested(peer: Peer) -> str:
    high, low = (kept(peer, drop(peer, rate)) for rate in (0.5, 0.3))
    return "survives" if low[high].all() else "may drop"


def _fingerprint(peer: Peer) -> Observation:
    bits = np.packbits(kept(peer, drop(peer, 0.3)))
    return Observation(hashlib.sha256(bits.tobytes()).hexdigest()[:8])


def _placed(kind: AxisType) -> tuple[Mesh, jax.Array]:
    """A mesh of virtual devices, and ones whose rows are spread over it."""
    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        return mesh, jax.device_put(
            np.ones(SHAPE, np.float32), NamedSharding(mesh, PartitionSpec("rows"))
        )


def _on_mesh(kind: AxisType, function: Function) -> str:
    """Whether the mask and the placement are right, eagerly and compiled."""
    expected = np.asarray(function(jnp.ones(SHAPE))) != 0
    mesh, x = _placed(kind)

    def works(function: Function) -> str:
        y = function(x)
        if not np.array_equal(np.asarray(y) != 0, expected):
            return "another mask"
        placed = y.sharding.is_equivalent_to(x.sharding, x.ndim)
        return "works" if placed else "not placed as x"

    with jax.set_mesh(mesh):
        eager, compiled = (
            outcome(functools.partial(works, f)) for f in (function, jax.jit(function))
        )
    return joined({"eager": eager, "jit": compiled})


def _automatic(peer: Peer) -> str:
    function = peer.transformable(peer.key(0), 0.3)
    mesh, x = _placed(AxisType.Auto)
    with jax.set_mesh(mesh):
        program = jax.jit(function).lower(x).compile().as_text() or ""
    found = ", ".join(name for name in COLLECTIVES if name in program)
    return f"{_on_mesh(AxisType.Auto, function)}, {found or 'no communication'}"


def _explicit(peer: Peer) -> str:
    return _on_mesh(AxisType.Explicit, peer.transformable(peer.key(0), 0.3))


def _shared_sharded(peer: Peer) -> str:
    # The case of flax issue 5209.
    peer.transformable(peer.key(0), 0.3)
    return _on_mesh(
        AxisType.Explicit, lambda x: drop(peer, 0.3, x, broadcast_dims=(0,))
    )


def _closed_over(
    transform: Callable[[Function], Function],
) -> Callable[[Peer], Observation]:
    """The library's own state, and a key at the call, inside a transform."""

    def look(peer: Peer) -> Observation:
        def own_state() -> str:
            function = peer.closed_over()
            transform(function)(jnp.ones(SHAPE))
            # Whether the state is still of use.
            function(jnp.ones(SHAPE))
            return "works"

        def own_key() -> str:
            transform(peer.transformable(peer.key(0), 0.5))(jnp.ones(SHAPE))
            return "works"

        with_state, with_key = outcome(own_state), outcome(own_key)
        text = joined({"state from outside": with_state, "key from outside": with_key})
        return Observation(text, with_key == "works")

    return look


def _scanned(function: Function) -> Function:
    return lambda x: lax.scan(lambda x, _: (function(x), None), x, length=2)[0]


def _symbolic_batch(peer: Peer) -> str:
    function = peer.transformable(peer.key(0), 0.3)
    (rows,) = jax.export.symbolic_shape("rows")
    symbolic = jax.ShapeDtypeStruct((rows, SHAPE[1]), jnp.float32)
    program = jax.export.export(jax.jit(function))(symbolic)
    return _same(peer, program.call(ones(peer)), function(ones(peer)), "works")


def _residuals(peer: Peer) -> Observation:
    bits = peer.residual_bits(peer.array(np.ones((256, 256), np.float32)), 0.1)
    counts = {
        mode: f"{number(value)} bit{'s' if value >= 1.01 else ''}"
        for mode, value in bits.items()
    }
    worst = max(bits.values())
    # Beside the mask there may be scalars.
    return Observation(joined(counts), worst < 1.01, worst)


def _drawn(rate: float, most: int) -> Callable[[Peer], Observation]:
    def look(peer: Peer) -> Observation:
        bits = peer.random_bits(peer.array(np.ones((256, 256), np.float32)), rate)
        return Observation(f"{number(bits)} bits", bits < most + 0.01, bits)

    return look


CASES = (
    Case("mask under jax_enable_x64", SAME, _under("enable_x64", False)),
    Case(
        "mask without jax_threefry_partitionable",
        SAME,
        _under("threefry_partitionable", True),
    ),
    Case("mask of a bfloat16 x", SAME, _low_precision),
    Case("mask in jit, scan, remat", SAME, _transforms),
    Case("mask of vmap over keys, against a loop", SAME, _mapped("threefry2x32")),
    Case("mask of vmap over rbg keys, against a loop", SAME, _mapped("rbg")),
    Case("key implementations that work, legacy included", "all 7", _implementations),
    Case("mask of the first 5 of 16 rows, alone", ROWS, _prefix),
    Case("mask of rows 5 to 11, alone", ROWS, _offset),
    Case("what survives rate 0.5, at rate 0.3", "survives", _nested),
    Case("fingerprint of a mask", "pinned by golden vectors", _fingerprint),
    Case("x over 8 devices, automatic axes", "works, no communication", _automatic),
    Case("x over 8 devices, explicit axes", "works", _explicit),
    Case("the same, sharing bits along the sharded axis", "works", _shared_sharded),
    Case("closed over in jit", "works with a key", _closed_over(jax.jit)),
    Case("closed over in scan", "works with a key", _closed_over(_scanned)),
    Case("exported with a symbolic batch size", "works", _symbolic_batch),
    Case("kept for the backward pass, rate 0.1", "1 bit per element", _residuals),
    Case("random bits drawn per element, rate 0.5", "at most 2", _drawn(0.5, 2)),
    Case("random bits drawn per element, rate 0.1", "at most 16", _drawn(0.1, 16)),
)
"""What is asked of every library's mask."""
