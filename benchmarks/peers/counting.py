"""Counts what a JAX function keeps for its backward pass, and what it draws."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.random import threefry2x32_p, threefry_prng_impl

Function = Callable[[jax.Array], Any]


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

    A request for random bits may take more of the generator than it returns: each is
    traced on its own, and its blocks of 64 bits are counted.

    Args:
      function: Takes and returns an array; it draws outside of loops.
      x: Its input.

    Returns:
      The bits of all blocks, per element of x.
    """
    bits = 0
    for equation in _equations(jax.make_jaxpr(function)(x).jaxpr):
        if equation.primitive.name == "random_bits":
            shape, width = (equation.params[name] for name in ("shape", "bit_width"))
            bits += _bits_of_request(shape, width)
    return bits / x.size


def stream_bits(function: Function, x: jax.Array) -> float:
    """Bits per element that jdrop's generator computes, counted as it runs.

    Without jit, the loop over digits is a loop in Python, and every call of the
    generator has a result that can be measured.

    Args:
      function: Takes and returns an array.
      x: Its input.

    Returns:
      The bits of all blocks, per element of x.
    """
    from jdrop import _stream

    bits = 0
    generator = _stream.threefry2x32

    def counted(*block: jax.Array) -> tuple[jax.Array, jax.Array]:
        nonlocal bits
        words = generator(*block)
        bits += 32 * sum(word.size for word in words)
        return words

    # The type checker takes the function for a constant.
    _stream.threefry2x32 = counted  # type: ignore[assignment]
    try:
        with jax.disable_jit():
            function(x)
    finally:
        _stream.threefry2x32 = generator
    return bits / x.size


def _bits_of_request(shape: tuple[int, ...], width: int) -> int:
    draw = jax.make_jaxpr(lambda key: threefry_prng_impl.random_bits(key, width, shape))
    return sum(
        32 * int(np.prod(word.aval.shape))
        for equation in _equations(draw(jnp.zeros(2, jnp.uint32)).jaxpr)
        if equation.primitive is threefry2x32_p
        for word in equation.outvars
    )


def _equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a program, and of the programs that they call."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            if isinstance(value, core.ClosedJaxpr):
                yield from _equations(value.jaxpr)
            elif isinstance(value, core.Jaxpr):
                yield from _equations(value)
