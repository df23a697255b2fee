"""What the arguments may be: rates, modes, keys, axes, dtypes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import Peer
from benchmarks.probes import (
    ERROR,
    NOTHING,
    REFUSALS,
    SHAPE,
    Case,
    Observation,
    drop,
    kept,
    number,
    ones,
    values,
    with_slope,
)

NAN = float("nan")
# Flax's errors about keys are exceptions of no standard kind.
ANY = (Exception,)


def _rate_zero(peer: Peer) -> str:
    y = peer.read(peer.drop(None, ones(peer), 0.0))
    return "x" if np.array_equal(y, np.ones(SHAPE)) else "another array"


def _array_of_rates(peer: Peer) -> Observation:
    # A convenience where it works, hence the cost.
    rates = peer.array(np.linspace(0.1, 0.9, SHAPE[1], dtype=np.float32))
    try:
        return Observation(
            f"works: 1 becomes {values(peer, drop(peer, rates))}", True, 0
        )
    except REFUSALS as error:
        return Observation(type(error).__name__, True, 1)


def _traced_rate(peer: Peer) -> str:
    traced = kept(peer, peer.compile(lambda rate: drop(peer, rate))(0.3))
    same = np.array_equal(traced, kept(peer, drop(peer, 0.3)))
    return "the static mask" if same else "another mask"


def _traced_ends(peer: Peer) -> str:
    traced = peer.compile(lambda rate: drop(peer, rate))
    return "; ".join(values(peer, traced(rate)) for rate in (0.0, 1.0, 1.5, NAN))


def _traced_slope(peer: Peer) -> Any:
    x = ones(peer)
    return peer.compile(lambda p: peer.slope(lambda x: drop(peer, p, x), x))(1.0)


def _slope_of_rate(peer: Peer) -> str:
    slope = peer.slope(lambda rate: drop(peer, rate), 0.3)
    return "None" if slope is None else number(float(slope))


def _traced_mode(peer: Peer) -> str:
    drop(peer, 0.5, deterministic=True)
    peer.transformable(peer.key(0), 0.5)
    traced = jax.jit(lambda mode: drop(peer, 0.5, deterministic=mode))
    off, on = traced(jnp.bool_(True)), traced(jnp.bool_(False))
    right = np.array_equal(off, ones(peer)) and np.array_equal(on, drop(peer, 0.5))
    return "works" if right else "another output"


def _mode_by_position(peer: Peer) -> str:
    y = peer.read(peer.drop(peer.key(0), ones(peer), 0.5, True))
    return f"dropout {'off' if np.array_equal(y, np.ones(SHAPE)) else 'on'}"


def _missing_key(peer: Peer) -> Any:
    y = peer.drop(None, ones(peer), 0.5)
    return Observation("draws from its own state") if peer.stateful else y


def _params_key(peer: Peer) -> Observation:
    # Flax falls back to the stream of the parameters without a word.
    return Observation(values(peer, drop(peer, 0.5, collection="params")))


def _three_keys(peer: Peer) -> Any:
    return peer.drop(jax.random.split(peer.jax_key(0), 3), ones(peer), 0.5)


def _reused_key(peer: Peer) -> str:
    key, x = peer.jax_key(0), ones(peer)
    with jax.debug_key_reuse(True):
        peer.drop(key, x, 0.5)
        peer.drop(key, x, 0.5)
    return "accepted"


def _integers(rate: float) -> Callable[[Peer], str]:
    def look(peer: Peer) -> str:
        y = drop(peer, rate, ones(peer, np.int32))
        return f"{values(peer, y)} ({peer.read(y).dtype.name})"

    return look


def _shared(axis: int) -> Callable[[Peer], Any]:
    return lambda peer: drop(peer, 0.5, broadcast_dims=(axis,))


CASES = (
    Case("rate -0.5, x = 1", ERROR, lambda peer: drop(peer, -0.5)),
    Case("rate 1.5, x = 1", ERROR, lambda peer: drop(peer, 1.5)),
    Case("rate NaN, x = 1", ERROR, lambda p: with_slope(p, lambda x: drop(p, NAN, x))),
    Case("rate 1", NOTHING, lambda p: with_slope(p, lambda x: drop(p, 1.0, x))),
    Case("rate 1, x = inf", "0", lambda peer: drop(peer, 1.0, ones(peer) * np.inf)),
    Case("rate 1, no key", "0", lambda peer: peer.drop(None, ones(peer), 1.0)),
    Case("rate 0, no key", "x", _rate_zero),
    Case("an array of rates, one a column", "works, or an error", _array_of_rates),
    Case("traced rate 0.3", "the static mask", _traced_rate),
    Case("traced rate 0; 1; 1.5; NaN, x = 1", "1; 0; 0; nan", _traced_ends),
    Case("traced rate 1, gradient", "0", _traced_slope),
    Case("d/d(rate) of the sum of 1536 ones, rate 0.3", "0", _slope_of_rate),
    Case("traced deterministic", "works", _traced_mode),
    Case("the mode by position: True", ERROR, _mode_by_position),
    Case("no key, rate 0.5", ERROR, _missing_key, ANY),
    Case("only a key for `params`, rate 0.5", "as Flax, in the modules", _params_key),
    Case("three keys as one key", ERROR, _three_keys, ANY),
    Case("one key used twice, jax_debug_key_reuse", "KeyReuseError", _reused_key),
    Case("int32 x = 1, rate 0.5", ERROR, _integers(0.5)),
    Case("int32 x = 1, rate 0", ERROR, _integers(0.0)),
    Case("broadcast_dims (2,) of a 2-d x", ERROR, _shared(2)),
    Case("broadcast_dims (5,) of a 2-d x", ERROR, _shared(5)),
)
"""What is asked of every library's arguments."""
