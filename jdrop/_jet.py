"""Checkpoints, but not under `jax.experimental.jet`, which does not know them."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax


def is_in_jet(*values: object) -> bool:
    """Whether `jax.experimental.jet` traces an array in some pytrees.

    It has rules for few primitives: it takes neither a checkpoint nor a platform's own
    branch, nor a key as an argument of a jit.
    """
    jet = sys.modules.get("jax.experimental.jet")
    if jet is None:
        return False
    tracer = getattr(jet, "JetTracer", ())
    return any(isinstance(leaf, tracer) for leaf in jax.tree.leaves(values))


def checkpoint(law: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Makes a backward pass keep the arguments of a law alone, and compute it again."""
    kept = jax.checkpoint(law)

    @functools.wraps(law)
    def call(*args: Any) -> jax.Array:
        return law(*args) if is_in_jet(args) else kept(*args)

    return call
