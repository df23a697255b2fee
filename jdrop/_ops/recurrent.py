"""Zoneout: units of a recurrent network that keep their state for a step."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jdrop._arguments import Key
from jdrop._axes import check_same
from jdrop._calls import checked_call
from jdrop._jet import checkpoint
from jdrop._mask import choose
from jdrop._op import Op, apply
from jdrop._select import widened


@checked_call
def zoneout(
    key: Key,
    x: ArrayLike,
    previous: ArrayLike,
    rate: ArrayLike,
    *,
    deterministic: bool | jax.Array = False,
    broadcast_dims: Sequence[int] = (),
    offset: ArrayLike = 0,
) -> jax.Array:
    """Keeps the previous state of each unit with probability `rate`.

    y = m * x + (1 - m) * previous, with m ~ Bernoulli(1 - rate).

    A fresh `dropout` of the state at every step would take from each unit what it holds
    after a few steps; zoneout takes nothing away. Deterministic, it gives the
    expectation (1 - rate) * x + rate * previous.

    Args:
      key: As in `dropout`. At each step another one.
      x: The new state, an array of any shape and of a floating-point or complex dtype.
      previous: The state before, of the shape and dtype of x.
      rate: Probability of keeping the state before, as in `dropout`. The paper has 0.5
        for the cells and 0.05 for the hidden states of an LSTM.
      deterministic: True returns the expectation. A bool, concrete or traced.
      broadcast_dims: Axes along which all elements share a bit.
      offset: As in `dropout`.

    Returns:
      An array of the shape, dtype and sharding of x. A NaN or inf that is not chosen
      is gone, with gradient 0. At rate 0 it is x itself, at rate 1 `previous`.

    Raises:
      ValueError: As in `dropout`, or if the states differ in shape.
      TypeError: As in `dropout`, or if the states differ in dtype.

    References:
      Krueger et al., 2016. Zoneout: regularizing RNNs by randomly preserving hidden
      activations. https://arxiv.org/abs/1606.01305

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> new, old = jnp.ones(1000), jnp.zeros(1000)
      >>> y = jdrop.zoneout(jax.random.key(0), new, old, 0.1)
      >>> print(jnp.unique(y))
      [0. 1.]
      >>> y = jdrop.zoneout(None, new, old, 0.25, deterministic=True)
      >>> print(jnp.unique(y))
      [0.75]
    """
    x, previous = map(_ZONEOUT.as_input, (x, previous))
    check_same("zoneout", x, previous)
    return apply(
        _ZONEOUT,
        key,
        (x, previous),
        rate,
        deterministic=deterministic,
        broadcast_dims=broadcast_dims,
        offset=offset,
    )


@checkpoint
def _expectation(rate: ArrayLike, x: jax.Array, previous: jax.Array) -> jax.Array:
    wide, before = widened(x), widened(previous)
    p = lax.full_like(wide, rate)
    # At the ends a product would let an inf or NaN through that has no part in it.
    mixed = jnp.where(p == 0, wide, (1 - p) * wide + p * before)
    return jnp.where(p == 1, before, mixed).astype(x.dtype)


_ZONEOUT = Op("zoneout", choose, at_rest=_expectation, complex_ok=True)
