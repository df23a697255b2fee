"""The frame of an op: check the arguments, leave alone, draw, apply, place."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.typing import ArrayLike

from jdrop._arguments import (
    Key,
    as_deterministic,
    as_input,
    as_rate,
    is_known,
)
from jdrop._axes import as_axes
from jdrop._jet import is_in_jet
from jdrop._keys import consume
from jdrop._mask import draw_mask
from jdrop._sharding import sharded_like
from jdrop._stream import Rate
from jdrop._window import Start, shared


def _first(rate: ArrayLike, x: jax.Array, *others: jax.Array) -> jax.Array:
    return x


@dataclasses.dataclass(frozen=True)
class Op:
    """What tells one op from another.

    Attributes:
      name: The name of its function, for messages.
      law: The equation. `law(noise, *arrays)` returns an array like the first of them.
        It may differentiate by each: a rate whose gradient is wanted is one of them.
      draw: What is random. `draw(key, shape, start, rate)` returns the noise: a `Mask`,
        or a `Noise`. The key is None where the rate is known to be 1.
      at_rest: What `deterministic` gives: `at_rest(rate, *arrays)`, by default the
        first array itself, which rate 0 gives in any case.
      complex_ok: Whether the law makes sense for complex arrays.
    """

    name: str
    law: Callable[..., jax.Array]
    draw: Callable[..., Any] = draw_mask
    at_rest: Callable[..., jax.Array] = _first
    complex_ok: bool = False

    def as_input(self, x: ArrayLike) -> jax.Array:
        """Returns `x` as an array; raises unless the law takes it."""
        return as_input(self.name, x, complex_ok=self.complex_ok)


def apply(
    op: Op,
    key: Key,
    arrays: tuple[ArrayLike, ...],
    rate: ArrayLike | None,
    *,
    deterministic: bool | jax.Array,
    broadcast_dims: Any = (),
    shape: tuple[int, ...] | None = None,
    offset: ArrayLike = 0,
) -> jax.Array:
    """Returns the law of an op with fresh noise, or what it is at rest.

    Args:
      op: The op.
      key: A single key, or a function that makes it. It is asked for, and consumed,
        only where the result depends on one.
      arrays: What the law takes. Those with axes are of the shape of the first.
      rate: Probability of dropping. None will do where the arrays are left alone.
      deterministic: Whether to leave the arrays alone.
      broadcast_dims: Axes along which all elements share their noise.
      shape: Shape of the noise before it is shared, by default that of the first array.
      offset: Index of the first row along axis 0.

    Returns:
      An array of the shape, dtype and placement of the first array.
    """
    given = [op.as_input(x) for x in arrays]
    mode = as_deterministic(deterministic)
    if rate is None and mode is True and op.at_rest is _first:
        rate = 0
    realised = Rate.of(as_rate(rate))
    dims = as_axes(broadcast_dims, given[0].ndim)
    shape = given[0].shape if shape is None else shape
    start = Start.of(offset, shape, dims, None)
    if is_known(realised.value, 0):
        return given[0]
    if mode is True:
        return op.at_rest(realised.value, *given)
    is_at_rest = None if mode is False else mode
    if is_known(realised.value, 1):
        key = None
    else:
        key = consume(key() if callable(key) else key)
    run = _run if is_in_jet(given) else _draw_and_apply
    return run(op, shared(shape, dims), given, key, realised, is_at_rest, start)


@functools.partial(jax.jit, static_argnames=("op", "shape"))
def _draw_and_apply(
    op: Op, shape: tuple[int, ...], arrays: list[jax.Array], *others: Any
) -> jax.Array:
    """The part of `apply` that is one compiled program, placed like the first array."""
    run = functools.partial(_run, op, shape)
    return sharded_like(arrays[0], run)(arrays, *others)


def _run(
    op: Op,
    shape: tuple[int, ...],
    arrays: list[jax.Array],
    key: jax.Array | None,
    rate: Rate,
    is_at_rest: jax.Array | None,
    start: Start,
) -> jax.Array:
    noise = op.draw(key, shape, start, rate)
    y = op.law(noise, *arrays)
    if is_at_rest is None:
        return y
    # Its scalar predicate is all that a backward pass keeps of it.
    return lax.select_n(is_at_rest, y, op.at_rest(rate.value, *arrays))
