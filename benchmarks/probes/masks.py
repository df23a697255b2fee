"""What the mask depends on: flags, dtype, transforms, keys, the rest of the batch."""

import functools
import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.peers.base import Peer
from benchmarks.probes.observation import (
    Observation,
    expects,
    kept,
    ones,
    outcome,
    probe,
    setting,
)

IMPLEMENTATIONS = (
    "threefry2x32",
    "threefry4x32",
    "philox2x32",
    "philox4x32",
    "rbg",
    "unsafe_rbg",
)


def same(a: object, b: object) -> str:
    """Whether two outputs kept the same places."""
    return "the same" if np.array_equal(kept(a), kept(b)) else "another"


def under(peer: Peer, flag: str, *values: object) -> Observation:
    """Whether the mask is the same under all values of an option of JAX."""
    outputs = []
    for value in values:
        with setting(flag, value):
            outputs.append(kept(peer.transformable(peer.key(0), 0.3)(ones(peer))))
    return expects(same(outputs[0], outputs[1]), "the same")


@probe("the mask under jax_enable_x64", "the same")
def wide_types(peer: Peer) -> Observation:
    """A flag that has nothing to do with randomness."""
    return under(peer, "jax_enable_x64", False, True)


@probe("the mask without jax_threefry_partitionable", "the same")
def partitionable(peer: Peer) -> Observation:
    """A flag of which the default changed in jax 0.5."""
    return under(peer, "jax_threefry_partitionable", True, False)


@probe("the mask of a bfloat16 x", "the same")
def low_precision(peer: Peer) -> Observation:
    """Whether mixed precision changes which units are dropped."""
    key = peer.key(0)
    narrow = peer.drop(key, ones(peer, jnp.bfloat16), 0.3)
    return expects(same(peer.drop(key, ones(peer), 0.3), narrow), "the same")


@probe("the mask in jit, scan, remat", "the same")
def transforms(peer: Peer) -> Observation:
    """Transforms of a function whose key is bound."""
    drop, x = peer.transformable(peer.key(0), 0.3), ones(peer)
    expected = drop(x)
    _, (scanned,) = lax.scan(lambda _, x: (None, drop(x)), None, x[None])
    seen = {
        "jit": same(jax.jit(drop)(x), expected),
        "scan": same(scanned, expected),
        "remat": same(jax.grad(lambda x: jax.checkpoint(drop)(x).sum())(x), expected),
    }
    changed = [name for name, text in seen.items() if text != "the same"]
    return expects(
        f"another in {', '.join(changed)}" if changed else "the same", "the same"
    )


def mapped(peer: Peer, implementation: str) -> Observation:
    """Whether vmap over keys gives what a loop over them gives."""
    keys = jax.random.split(peer.jax_key(0, implementation), 4)
    batched = jax.vmap(lambda key: peer.drop(key, ones(peer), 0.3))(keys)
    looped = jnp.stack([peer.drop(key, ones(peer), 0.3) for key in keys])
    return expects(same(batched, looped), "the same")


@probe("the mask of vmap over keys, against a loop", "the same")
def mapped_default(peer: Peer) -> Observation:
    """Keys of the default implementation."""
    return mapped(peer, "threefry2x32")


@probe("the mask of vmap over rbg keys, against a loop", "the same")
def mapped_rbg(peer: Peer) -> Observation:
    """Keys of the implementation that is fast on a TPU."""
    return mapped(peer, "rbg")


@probe("key implementations that work, legacy included", "all 7")
def key_implementations(peer: Peer) -> Observation:
    """Every implementation of `jax.random`, and a raw uint32 key."""
    peer.jax_key(0)

    def works(make: Callable[[], jax.Array]) -> str:
        rate = 1 - kept(peer.drop(make(), ones(peer), 0.5)).mean()
        # 1536 fair bits: six standard deviations are 0.077.
        return "works" if abs(rate - 0.5) < 0.077 else "another rate"

    makers: dict[str, Callable[[], jax.Array]] = {
        name: functools.partial(peer.jax_key, 0, name) for name in IMPLEMENTATIONS
    }
    makers["legacy"] = lambda: jax.random.PRNGKey(0)
    seen = {name: outcome(functools.partial(works, m)) for name, m in makers.items()}
    failed = [name for name, text in seen.items() if text != "works"]
    return expects(f"not {', '.join(failed)}" if failed else "all 7", "all 7")


@probe("the mask of the first 5 of 16 rows, alone", "those rows' of the whole")
def prefix(peer: Peer) -> Observation:
    """Whether an example's mask depends on the size of the batch."""
    key = peer.key(0)
    text = same(
        peer.drop(key, ones(peer)[:5], 0.3), peer.drop(key, ones(peer), 0.3)[:5]
    )
    wanted = "those rows' of the whole"
    return expects(wanted if text == "the same" else "another", wanted)


@probe("the mask of rows 5 to 11, alone", "those rows' of the whole")
def offset(peer: Peer) -> Observation:
    """Whether a micro-batch or a shard can have its rows of the whole mask."""
    key = peer.key(0)
    part = peer.drop(key, ones(peer)[5:11], 0.3, offset=5)
    text = same(part, peer.drop(key, ones(peer), 0.3)[5:11])
    wanted = "those rows' of the whole"
    return expects(wanted if text == "the same" else "another", wanted)


@probe("what survives rate 0.5, at rate 0.3", "survives")
def nested(peer: Peer) -> Observation:
    """Whether a lower rate keeps all that a higher one keeps."""
    key = peer.key(0)
    high, low = (kept(peer.drop(key, ones(peer), rate)) for rate in (0.5, 0.3))
    return expects("survives" if low[high].all() else "may drop", "survives")


@probe("fingerprint of a mask, to compare runs", "pinned by golden vectors")
def fingerprint(peer: Peer) -> Observation:
    """The start of the SHA-256 of the packed mask of a fixed call."""
    bits = np.packbits(kept(peer.drop(peer.key(0), ones(peer), 0.3)))
    return Observation(hashlib.sha256(bits.tobytes()).hexdigest()[:8])
