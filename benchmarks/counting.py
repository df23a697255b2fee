"""Exact counts of what a JAX function keeps and draws, the same on every machine."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
from jax.extend.core import Primitive
from jax.extend.core.primitives import xor_p
from jax.extend.random import threefry2x32_p

Function = Callable[[jax.Array], Any]

# Salmon et al. 2011, section 4.2: the rounds of threefry2x32, as jdrop writes them out.
ROUNDS = 20
BLOCK_BITS = 64


def residual_bits(function: Function, x: jax.Array) -> float:
    """Bits per element of all that `jax.vjp` holds between the two passes.

    Args:
      function: Takes and returns an array.
      x: Its input.

    Returns:
      The size of the leaves of the pullback, in bits per element of x.
    """
    _, pullback = jax.vjp(function, x)
    held = [leaf for leaf in jax.tree.leaves(pullback) if hasattr(leaf, "nbytes")]
    return 8 * sum(leaf.nbytes for leaf in held) / x.size


def threefry_bits(function: Function, x: jax.Array) -> float:
    """Bits per element that JAX's threefry computes for a function of a default key.

    A request for random bits may take more of the generator than it returns.

    Args:
      function: Takes and returns an array.
      x: Its input.

    Returns:
      The bits of all blocks, per element of x.
    """
    return 32 * _made(threefry2x32_p, function, x) / x.size


def stream_bits(function: Function, x: jax.Array) -> float:
    """Bits per element that jdrop's generator computes.

    Each round of its cipher, which is written out, is one exclusive or of arrays.

    Args:
      function: Takes and returns an array.
      x: Its input.

    Returns:
      The bits of all blocks, per element of x.
    """
    return BLOCK_BITS * _made(xor_p, function, x) / ROUNDS / x.size


def _made(primitive: Primitive, function: Function, x: jax.Array) -> int:
    """The elements that a primitive makes while a function runs.

    Nothing is compiled: loops are loops of Python, and count as often as they run.
    """
    total = 0
    run = primitive.impl

    def counted(*args: Any, **params: Any) -> Any:
        nonlocal total
        made = run(*args, **params)
        # The words of a key or a seed are computed one by one.
        total += sum(y.size for y in jax.tree.leaves(made) if y.size > 1)
        return made

    with mock.patch.object(primitive, "impl", counted), jax.disable_jit():
        function(x)
    return total
