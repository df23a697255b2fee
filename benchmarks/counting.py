"""Exact counts of what a JAX function does, which are the same on every machine."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.random import threefry2x32_p, threefry_prng_impl

Function = Callable[[jax.Array], Any]
Counts = Counter[tuple[str, str]]

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

    A request for random bits may take more of the generator than it returns: each is
    traced on its own, and its blocks of 64 bits are counted.

    Args:
      function: Takes and returns an array; it draws outside of loops.
      x: Its input.

    Returns:
      The bits of all blocks, per element of x.
    """
    requests = (
        equation.params
        for equation in _equations(jax.make_jaxpr(function)(x).jaxpr)
        if equation.primitive.name == "random_bits"
    )
    return sum(_bits_of_request(p["shape"], p["bit_width"]) for p in requests) / x.size


def stream_bits(function: Function, x: jax.Array) -> float:
    """Bits per element that jdrop's generator computes.

    The rounds of its cipher are written out, and each is one exclusive or of uint32
    arrays.

    Args:
      function: Takes and returns an array. It runs, primitive by primitive.
      x: Its input.

    Returns:
      The bits of all blocks, per element of x; the scalar blocks of the seed are not
      counted.
    """
    blocks = operations(function, x)["xor", "uint32"] / ROUNDS
    return BLOCK_BITS * blocks / x.size


def operations(function: Callable[..., Any], *args: Any) -> Counts:
    """Counts what a function computes, element by element, loops as often as they run.

    Args:
      function: A function of arrays. It runs, primitive by primitive: use small ones.
      *args: Its arguments.

    Returns:
      Elements by (primitive, dtype), without the scalars.

    Raises:
      NotImplementedError: If the function scans or branches; loops by `while` are run.
    """
    counts: Counts = Counter()
    closed = jax.make_jaxpr(function)(*args)
    _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), counts)
    return counts


def _run(jaxpr: core.Jaxpr, consts: Any, args: Any, counts: Counts) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(variable: Any) -> Any:
        literal = isinstance(variable, core.Literal)
        return variable.val if literal else values[variable]

    for equation in jaxpr.eqns:
        outputs = _evaluate(equation, [read(v) for v in equation.invars], counts)
        values |= zip(equation.outvars, outputs, strict=True)
    return [read(v) for v in jaxpr.outvars]


def _evaluate(equation: Any, inputs: list[Any], counts: Counts) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive.name == "while":
        return _while(params, inputs, counts)
    if primitive.name in ("scan", "cond"):
        raise NotImplementedError(f"operations inside of {primitive.name}")
    for inner in map(params.get, ("jaxpr", "call_jaxpr", "fun_jaxpr")):
        if inner is not None:
            jaxpr, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", [])
            return _run(jaxpr, consts, inputs, counts)
    for variable in equation.outvars:
        if variable.aval.size > 1:
            counts[primitive.name, str(variable.aval.dtype)] += variable.aval.size
    made = primitive.bind(*inputs, **params)
    return made if primitive.multiple_results else [made]


def _while(params: Any, inputs: list[Any], counts: Counts) -> list[Any]:
    first, second = params["cond_nconsts"], params["body_nconsts"]
    tested, fixed = inputs[:first], inputs[first : first + second]
    carry = inputs[first + second :]
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]
    while _run(condition.jaxpr, condition.consts, [*tested, *carry], counts)[0]:
        carry = _run(body.jaxpr, body.consts, [*fixed, *carry], counts)
    return carry


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
        for inner in core.jaxprs_in_params(equation.params):
            yield from _equations(inner)
