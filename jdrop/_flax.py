"""What the linen and the nnx modules share; it does not import Flax itself."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from jax.typing import ArrayLike

from jdrop._arguments import as_dims, as_rate

P = ParamSpec("P")
R = TypeVar("R")

NEEDS_FLAX = 'needs Flax, which could not be imported: pip install "flax>=0.11"'


def check_fields(rate: ArrayLike | None, broadcast_dims: object) -> tuple[int, ...]:
    """Raises as the function of a module would; returns the axes, of any array.

    A rate of None is left to the call, which may be deterministic.
    """
    if rate is not None:
        as_rate(rate)
    return as_dims(broadcast_dims)


def by_name(method: Callable[P, R]) -> Callable[P, R]:
    """Makes a method say which of its arguments are passed by name alone."""
    parameters = inspect.signature(method).parameters.values()
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    placed = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > 1 + len(placed):
            raise TypeError(
                f"{type(args[0]).__name__} takes {' and '.join(placed)} by position, "
                f"as in Flax, and {', '.join(named)} by name; got {len(args) - 1} "
                f"arguments by position. Pass {named[-1]}=..., for one."
            )
        return method(*args, **kwargs)

    return call
