"""Exact work: runs a function's jaxpr and counts the elements each primitive makes.

The count does not depend on the machine, so a test can hold it, where a time can only
be watched. Loops count as often as they run.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

# Salmon et al. 2011: threefry2x32 as jax.random and jdrop run it.
ROUNDS = 20

Counts = Counter[tuple[str, str]]


def count(function: Callable[..., Any], *args: Any) -> Counts:
    """Counts what a function computes, element by element.

    Args:
      function: A function of arrays. It runs, primitive by primitive: use small ones.
      *args: Its arguments.

    Returns:
      Elements by (primitive, dtype), without the scalars.
    """
    counts: Counts = Counter()
    closed = jax.make_jaxpr(function)(*args)
    _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), counts)
    return counts


def blocks(function: Callable[..., Any], *args: Any) -> float:
    """Counts blocks of threefry2x32, 64 random bits each.

    Where the rounds are written out, each is one exclusive or of uint32 arrays. Where
    `jax.random` draws with a threefry key, each of its words is a block of its own
    (`jax_threefry_partitionable`, the default).

    Args:
      function: A function of arrays.
      *args: Its arguments.

    Returns:
      Blocks; a fraction if the exclusive ors are not those of whole blocks.
    """
    counts = count(function, *args)
    return counts["random_bits", "uint32"] or counts["xor", "uint32"] / ROUNDS


def integer_operations(function: Callable[..., Any], *args: Any) -> int:
    """Counts operations on arrays of uint32, moves and iotas not included.

    Args:
      function: A function of arrays.
      *args: Its arguments.

    Returns:
      Elements computed.
    """
    arithmetic = {"add", "and", "mul", "not", "or", "sub", "xor"}
    arithmetic |= {"shift_left", "shift_right_logical"}
    counts = count(function, *args)
    return sum(n for (name, kind), n in counts.items() if name in arithmetic)


def _run(jaxpr: Jaxpr, consts: Any, args: Any, counts: Counts) -> list[Any]:
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        inputs = [
            v.val if isinstance(v, Literal) else values[v] for v in equation.invars
        ]
        outputs = _equation(equation, inputs, counts)
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def _equation(equation: Any, inputs: list[Any], counts: Counts) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive.name == "while":
        return _while(params, inputs, counts)
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in params and primitive.name != "scan":
            inner = params[name]
            jaxpr = getattr(inner, "jaxpr", inner)
            return _run(jaxpr, getattr(inner, "consts", []), inputs, counts)
    if primitive.name == "scan":
        return _scan(params, inputs, counts)
    for variable in equation.outvars:
        if variable.aval.size > 1 and hasattr(variable.aval, "dtype"):
            counts[primitive.name, str(variable.aval.dtype)] += variable.aval.size
    made = primitive.bind(*inputs, **params)
    return made if primitive.multiple_results else [made]


def _while(params: Any, inputs: list[Any], counts: Counts) -> list[Any]:
    split, start = params["cond_nconsts"], params["body_nconsts"]
    condition_consts, rest = inputs[:split], inputs[split:]
    body_consts, carry = rest[:start], rest[start:]
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]

    def goes_on() -> bool:
        args = [*condition_consts, *carry]
        return bool(_run(condition.jaxpr, condition.consts, args, counts)[0])

    while goes_on():
        carry = _run(body.jaxpr, body.consts, [*body_consts, *carry], counts)
    return carry


def _scan(params: Any, inputs: list[Any], counts: Counts) -> list[Any]:
    consts, carried = params["num_consts"], params["num_carry"]
    fixed, carry = inputs[:consts], inputs[consts : consts + carried]
    along, body = inputs[consts + carried :], params["jaxpr"]
    step = -1 if params["reverse"] else 1
    columns: list[list[Any]] = []
    for i in range(params["length"])[::step]:
        row = [x[i] for x in along]
        made = _run(body.jaxpr, body.consts, [*fixed, *carry, *row], counts)
        carry = made[:carried]
        columns.append(made[carried:])
    stacked = (jnp.stack(parts) for parts in zip(*columns[::step], strict=True))
    return [*carry, *stacked]
