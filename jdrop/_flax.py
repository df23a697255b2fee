"""What the linen and the nnx modules share; it does not import Flax itself."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import as_choice, as_number, as_rate
from jdrop._axes import as_axis, as_dims

P = ParamSpec("P")
R = TypeVar("R")

NEEDS_FLAX = 'needs Flax, which could not be imported: pip install "flax>=0.11"'


def _check_axis(name: str, axis: Any) -> None:
    """Raises unless it is an axis of some array, or None for one that x lacks."""
    if axis is not None:
        as_axis(name, axis, ndim=2**31)


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "rate": as_rate,
    "stddev": functools.partial(as_number, "stddev", least=0),
    "broadcast_dims": as_dims,
    "channel_axis": functools.partial(_check_axis, "channel_axis"),
    "batch_axis": functools.partial(_check_axis, "batch_axis"),
    "mode": functools.partial(as_choice, "mode", choices=("sample", "batch")),
}


def check_fields(fields: Mapping[str, Any]) -> None:
    """Raises as the function of a module would, as far as it can tell without x.

    A rate of None is left to the call, which may be deterministic.
    """
    for name, value in fields.items():
        if name in _CHECKS and not (name == "rate" and value is None):
            _CHECKS[name](value)


def first_logit(rate: ArrayLike) -> jax.Array:
    """What a learned rate begins with: a number whose sigmoid is the rate."""
    return jax.scipy.special.logit(jnp.asarray(as_rate(rate), jnp.float32))


def by_name(method: Callable[P, R]) -> Callable[P, R]:
    """Makes a method say which of its arguments are passed by name alone."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > 2:
            check_positions(type(args[0]), method, args[1:])
        return method(*args, **kwargs)

    return call


def check_positions(
    cls: type, method: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    """Raises if a method of a class gets more by position than it takes, as in Flax."""
    parameters = inspect.signature(method).parameters.values()
    placed = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    if len(args) > len(placed):
        named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        raise TypeError(
            f"{cls.__name__} takes the positional argument {' and '.join(placed)}, as "
            f"in Flax, and {', '.join(named)} by name; got {len(args)} positional "
            f"arguments. Pass {named[-1]}=..., for one."
        )
