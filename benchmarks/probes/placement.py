"""Meshes, closures and exported programs."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks.peers.base import Peer
from benchmarks.probes.observation import (
    SHAPE,
    Observation,
    expects,
    kept,
    outcome,
    per_mode,
    probe,
)

DEVICES = 8
COLLECTIVE = re.compile(r"all-gather|all-reduce|all-to-all|collective|reduce-scatter")


def placed(kind: AxisType) -> tuple[Mesh, jax.Array]:
    """A mesh of virtual devices, and ones whose rows are spread over it."""
    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        return mesh, jax.device_put(
            np.ones(SHAPE, np.float32), NamedSharding(mesh, PartitionSpec("rows"))
        )


def compare(y: jax.Array, x: jax.Array, expected: Any) -> str:
    """Whether an output has the expected mask and lies where x lies."""
    if not np.array_equal(kept(y), kept(expected)):
        return "another mask"
    if not y.sharding.is_equivalent_to(x.sharding, x.ndim):
        return "not placed as x"
    return "works"


def on_mesh(kind: AxisType, drop: Callable[[Any], Any]) -> str:
    """Runs a function on a mesh, eagerly and compiled."""
    expected = drop(jnp.ones(SHAPE))
    mesh, x = placed(kind)
    with jax.set_mesh(mesh):
        return per_mode(
            {
                "eager": outcome(lambda: compare(drop(x), x, expected)),
                "jit": outcome(lambda: compare(jax.jit(drop)(x), x, expected)),
            }
        )


@probe("x sharded over 8 devices, automatic axes", "works, no communication")
def automatic_axes(peer: Peer) -> Observation:
    """The mask, the placement, and the collectives of the compiled program."""
    drop = peer.transformable(peer.key(0), 0.3)
    mesh, x = placed(AxisType.Auto)
    with jax.set_mesh(mesh):
        program = jax.jit(drop).lower(x).compile()
    count = len(COLLECTIVE.findall(program.as_text() or ""))
    traffic = f"{count} collectives" if count else "no communication"
    text = f"{on_mesh(AxisType.Auto, drop)}, {traffic}"
    return expects(text, "works, no communication")


@probe("x sharded over 8 devices, explicit axes", "works")
def explicit_axes(peer: Peer) -> Observation:
    """Sharding in types."""
    drop = peer.transformable(peer.key(0), 0.3)
    return expects(on_mesh(AxisType.Explicit, drop), "works")


@probe("the same, sharing bits along the sharded axis", "works")
def shared_sharded_axis(peer: Peer) -> Observation:
    """The case of flax issue 5209."""
    key = peer.key(0)

    def drop(x: Any) -> Any:
        return peer.drop(key, x, 0.3, broadcast_dims=(0,))

    peer.transformable(key, 0.3)
    return expects(on_mesh(AxisType.Explicit, drop), "works")


def closed_over(
    peer: Peer, transform: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
) -> str:
    """Runs a transform of what the library closes over, then the same once more."""
    drop = peer.closed_over()
    transform(drop)(jnp.ones(SHAPE))
    drop(jnp.ones(SHAPE))
    return "works"


def with_key(
    peer: Peer, transform: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
) -> Observation:
    """The library's own state, and a key at the call, inside a transform."""
    seen = {
        "state from outside": outcome(lambda: closed_over(peer, transform)),
        "key from outside": outcome(lambda: _run(peer, transform)),
    }
    return Observation(per_mode(seen), seen["key from outside"] == "works")


def _run(
    peer: Peer, transform: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
) -> str:
    transform(peer.transformable(peer.key(0), 0.5))(jnp.ones(SHAPE))
    return "works"


@probe("closed over in jit", "works with a key")
def closed_over_in_jit(peer: Peer) -> Observation:
    """A layer made outside of the compiled function."""
    return with_key(peer, jax.jit)


@probe("closed over in scan", "works with a key")
def closed_over_in_scan(peer: Peer) -> Observation:
    """A layer made outside of the loop."""

    def scanned(drop: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: lax.scan(lambda x, _: (drop(x), None), x, length=2)[0]

    return with_key(peer, scanned)


@probe("exported with a symbolic batch size", "works")
def symbolic_batch(peer: Peer) -> Observation:
    """One exported program for all batch sizes."""
    drop = peer.transformable(peer.key(0), 0.3)
    (rows,) = jax.export.symbolic_shape("rows")
    x = jax.ShapeDtypeStruct((rows, SHAPE[1]), jnp.float32)
    program = jax.export.export(jax.jit(drop))(x)
    same = np.array_equal(
        kept(program.call(jnp.ones(SHAPE))), kept(drop(jnp.ones(SHAPE)))
    )
    return expects("works" if same else "another mask", "works")
