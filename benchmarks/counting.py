"""Exact counts, the same on every busy machine: of functions, and of programs.

XLA's optimised HLO is text: computations, each a block of instructions that name the
type of their result. It reads alike on a CPU and on a GPU.
"""

import math
import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
from jax.extend.core import Primitive
from jax.extend.core.primitives import xor_p
from jax.extend.random import threefry2x32_p
from jax.stages import Compiled

from jdrop._stream import ROUNDS

Function = Callable[[jax.Array], Any]

# Of threefry2x32.
BLOCK_BITS = 64

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$", re.MULTILINE)
_RESULT = re.compile(r"= \w+\[([\d,]+)\]")
# Each round of threefry ends in one exclusive or of counter words.
ROUND = re.compile(r"= u32\[[\d,]+\]\S* xor\(")


def residual_bits(function: Callable[..., Any], x: Any, *others: Any) -> float:
    """Bits per element of x, an array or a tree, that `jax.vjp` holds.

    Between the two passes, that is, with derivatives by all arguments.
    """
    _, pullback = jax.vjp(function, x, *others)
    held = [leaf for leaf in jax.tree.leaves(pullback) if hasattr(leaf, "nbytes")]
    elements = sum(leaf.size for leaf in jax.tree.leaves(x))
    return 8 * sum(leaf.nbytes for leaf in held) / elements


def threefry_bits(function: Function, x: jax.Array) -> float:
    """Bits per element of x that JAX's threefry computes for a function.

    A request for random bits may take more of the generator than it returns.
    """
    return 32 * _made(threefry2x32_p, function, x) / x.size


def stream_bits(function: Function, x: jax.Array) -> float:
    """Bits per element of x that jdrop's generator computes for a function.

    Each round of its cipher, which is written out, is one exclusive or of arrays.
    """
    return BLOCK_BITS * _made(xor_p, function, x) / ROUNDS / x.size


def text_of(program: Compiled) -> str:
    """The optimised HLO of a compiled program; "" where the backend gives none."""
    return program.as_text() or ""


def temporary_bytes(program: Compiled) -> int:
    """Bytes that a program allocates beside arguments and results; 0 if unknown."""
    analysis = program.memory_analysis()
    return int(analysis.temp_size_in_bytes) if analysis else 0


def fused_draws(text: str, elements: int) -> list[str]:
    """Names of computations in which the draw is fused into a pass over the elements.

    There, every element would draw its word anew. Materialised words are drawn in
    computations of their own, in which nothing is as large as x.
    """
    _, *parts = _COMPUTATION.split(text)
    return [
        name
        for name, body in zip(parts[::2], parts[1::2], strict=True)
        if ROUND.search(body)
        and any(
            math.prod(map(int, dims.split(","))) >= elements
            for dims in _RESULT.findall(body)
        )
    ]


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
