"""One dropout at a time: every contestant on the arrays of the plan."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jdrop
from benchmarks.costs import torch_peer
from benchmarks.costs.contestants import (
    FLOOR,
    JDROP,
    SHORT_LIST,
    Contestant,
    gather,
    keys,
)
from benchmarks.costs.machine import free_bytes
from benchmarks.costs.plan import Case, cases
from benchmarks.costs.regimes import Record, Settings
from benchmarks.costs.timing import Entry, compete, jitted

Function = Callable[[jax.Array, jax.Array], Any]

# x, y, and for the peers the random words, the uniforms and the mask.
BYTES_PER_ELEMENT = 24


def run(settings: Settings) -> Iterator[Record]:
    """Times the operations.

    Args:
      settings: Regime, thoroughness and sizes.

    Yields:
      A contest for each case that fits into memory, and a note for each that does not.
    """
    for case in cases(settings, jax.default_backend()):
        needed = math.prod(case.shape) * BYTES_PER_ELEMENT
        if free_bytes() and needed > free_bytes():
            yield {"kind": "left out", "what": str(case), "why": "memory"}
            continue
        yield contest(case, settings)


def contest(case: Case, settings: Settings) -> Record:
    """Times one case.

    Args:
      case: What is computed, and on what.
      settings: Rounds, and libraries to leave out.

    Returns:
      The record of the contest.
    """
    x = normal(case.shape, case.dtype)
    entries = _parts(case, x) if case.kind == "parts" else _whole(case, x, settings)
    return {
        "kind": case.kind,
        "case": case.name,
        "regime": settings.regime,
        "shape": list(case.shape),
        "dtype": case.dtype,
        "rate": case.rate,
        "reference": FLOOR,
        "rounds": settings.rounds,
        "results": compete(entries, FLOOR, settings.rounds, settings.sample_seconds),
    }


def normal(shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Normal numbers, the same row again and again, so that they are had quickly."""
    row = jax.random.normal(jax.random.key(0), shape[-1:], jnp.float32).astype(dtype)
    return jax.jit(lambda row: jnp.broadcast_to(row, shape))(row)


def floor(rate: float) -> Function:
    """The least that a dropout can do: one multiply by 1 / keep."""
    scale = 1 / (1 - rate)
    return lambda key, x: x * scale


def differentiated(kind: str, function: Function) -> Callable[..., Any]:
    """What a case computes with a dropout: its output, or its gradient too."""
    if kind == "gradient":
        return lambda key, x: jax.value_and_grad(lambda x: function(key, x).sum())(x)
    if kind == "pullback":

        def output_and_pullback(
            key: jax.Array, x: jax.Array, cotangent: jax.Array
        ) -> Any:
            y, pullback = jax.vjp(lambda x: function(key, x), x)
            return y, pullback(cotangent)

        return output_and_pullback
    return function


def _whole(case: Case, x: jax.Array, settings: Settings) -> list[Entry]:
    key = jax.random.key(1)
    functions = [(FLOOR, key, floor(case.rate))]
    for peer in gather(settings.without):
        if _takes_part(peer, case):
            functions.append((peer.name, peer.key, _dropping(peer, case)))
    if case.kind == "alpha":
        functions.append((JDROP, key, lambda k, x: jdrop.alpha_dropout(k, x, 0.1)))
    # Read from memory, as the gradient of the layer above is.
    arrays = (x, x + 1) if case.kind == "pullback" else (x,)
    return [
        jitted(name, differentiated(case.kind, function), key, *arrays)
        for name, key, function in functions
    ] + torch_peer.entry(case.kind, case.shape, case.dtype, case.rate, settings.without)


def _dropping(peer: Contestant, case: Case) -> Function:
    return lambda key, x: peer.drop(key, x, case.rate, case.broadcast_dims)


def _takes_part(peer: Contestant, case: Case) -> bool:
    if case.kind == "alpha" or (case.kind == "channel" and not peer.shares):
        return False
    # rbg is the cheapest of JAX's keys on accelerators, and its dearest on a CPU.
    cheapest = peer.name == "flax.linen, rbg" and jax.default_backend() != "cpu"
    return case.everyone or cheapest or peer.name in SHORT_LIST


def _parts(case: Case, x: jax.Array) -> list[Entry]:
    """The two halves of jdrop's dropout beside the whole: which one is the limit."""
    key, rate = keys()["threefry2x32"], case.rate
    mask = jdrop.sample_mask(key, case.shape, rate)
    return [
        jitted(FLOOR, floor(rate), key, x),
        jitted(JDROP, lambda k, x: jdrop.dropout(k, x, rate), key, x),
        jitted("draw", lambda k: jdrop.sample_mask(k, case.shape, rate).words, key),
        jitted("apply", jdrop.apply_mask, mask, x),
    ]
