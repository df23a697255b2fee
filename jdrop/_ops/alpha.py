"""Dropout for self-normalising networks: mean and variance stay where they are."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import Key, as_number, is_known
from jdrop._axes import all_axes_but
from jdrop._calls import checked_call
from jdrop._mask import Mask, select
from jdrop._op import Op, apply
from jdrop._select import real_dtype

# What SELU tends to for inputs of -infinity: minus the product of its two constants.
# Klambauer et al. 2017, section 2.
_SATURATION = -1.0507009873554804934 * 1.6732632423543772848

# The modules check them too, when they are made.
as_mean = functools.partial(as_number, "mean", least=-math.inf)
as_variance = functools.partial(as_number, "variance", least=1e-30)


@checked_call
def alpha_dropout(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    mean: ArrayLike = 0,
    variance: ArrayLike = 1,
    deterministic: bool | jax.Array = False,
    broadcast_dims: Sequence[int] = (),
    offset: ArrayLike = 0,
) -> jax.Array:
    """Dropout for self-normalising networks: drops to SELU's saturation value.

    y = a * (m * x + (1 - m) * alpha') + b, with m ~ Bernoulli(q), q = 1 - p the keep
    probability and p the rate, alpha' = -1.7580993408473766,
    a = (variance / (q * (p * (alpha' - mean)^2 + variance)))^(1/2) and
    b = mean - a * (q * mean + p * alpha').

    An x of the given mean and variance gives a y of the same mean and variance. By
    default they are those of self-normalising networks, 0 and 1, where
    a = (q * (1 + p * alpha'^2))^(-1/2) and b = -a * p * alpha'.

    p is the realised rate (see `sample_mask`), so both moments are exact however the
    rate was rounded. Use it after `jax.nn.selu` with LeCun normal weights: behind
    another activation nothing keeps the moments in place.

    Args:
      key: As in `dropout`.
      x: Array of any shape and of a floating-point dtype.
      rate: As in `dropout`.
      mean: The mean of x, a finite number, concrete or traced.
      variance: The variance of x, a finite number of 1e-30 or more, concrete or
        traced.
      deterministic: True returns x. A bool, concrete or traced.
      broadcast_dims: Axes along which all elements share a bit.
      offset: As in `dropout`.

    Returns:
      An array of the shape, dtype and sharding of x. A dropped NaN or inf is the
      dropped value, with gradient 0. At rate 0 it is x itself; at rate 1 it is the
      limit, the mean everywhere.

    Raises:
      ValueError: As in `dropout`, or if the mean or the variance is out of range.
      TypeError: As in `dropout`, or if x is complex.

    References:
      Klambauer, Unterthiner, Mayr and Hochreiter, 2017. Self-normalizing neural
      networks. https://arxiv.org/abs/1706.02515

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> x = jax.random.normal(jax.random.key(0), (1000, 1000))
      >>> y = jdrop.alpha_dropout(jax.random.key(1), x, 0.1)
      >>> print(f"mean {abs(y.mean()):.2f}, variance {y.var():.2f}")
      mean 0.00, variance 1.00
    """
    return apply(
        _ALPHA_DROPOUT,
        key,
        (x, *_fixed_point(mean, variance)),
        rate,
        deterministic=deterministic,
        broadcast_dims=broadcast_dims,
        offset=offset,
    )


@checked_call
def feature_alpha_dropout(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    mean: ArrayLike = 0,
    variance: ArrayLike = 1,
    deterministic: bool | jax.Array = False,
    offset: ArrayLike = 0,
) -> jax.Array:
    """Alpha dropout of whole channels, for self-normalising convolutions.

    y = a * (m * x + (1 - m) * alpha') + b, with one m for all positions of a channel;
    see `alpha_dropout` for a, alpha' and b, and `feature_dropout` for the axes.

    Args:
      key: As in `dropout`.
      x: Array of a floating-point dtype, such as (batch, height, width, channels).
      rate: As in `dropout`.
      channel_axis: As in `feature_dropout`.
      batch_axis: As in `feature_dropout`.
      mean: As in `alpha_dropout`.
      variance: As in `alpha_dropout`.
      deterministic: True returns x. A bool, concrete or traced.
      offset: As in `dropout`.

    Returns:
      An array like that of `alpha_dropout`.

    Raises:
      ValueError: As in `alpha_dropout`, or if the axes are not of x or are the same.
      TypeError: As in `alpha_dropout`.

    References:
      Klambauer, Unterthiner, Mayr and Hochreiter, 2017. Self-normalizing neural
      networks. https://arxiv.org/abs/1706.02515

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> x = jax.random.normal(jax.random.key(0), (8, 16, 16, 64))
      >>> y = jdrop.feature_alpha_dropout(jax.random.key(1), x, 0.5)
      >>> dropped = (y == y[:, :1, :1]).all((1, 2))
      >>> print(dropped.shape, f"{y[:, 0, 0][dropped].min():.2f}")
      (8, 64) -0.78
    """
    x = _FEATURE_ALPHA_DROPOUT.as_input(x)
    return apply(
        _FEATURE_ALPHA_DROPOUT,
        key,
        (x, *_fixed_point(mean, variance)),
        rate,
        deterministic=deterministic,
        broadcast_dims=all_axes_but(
            x.ndim, channel_axis=channel_axis, batch_axis=batch_axis
        ),
        offset=offset,
    )


def _fixed_point(mean: ArrayLike, variance: ArrayLike) -> tuple[Any, ...]:
    """The mean and the variance, or nothing where they are those of SELU."""
    mean, variance = as_mean(mean), as_variance(variance)
    return () if is_known(mean, 0) and is_known(variance, 1) else (mean, variance)


def _law(
    mask: Mask, x: jax.Array, mean: ArrayLike = 0.0, variance: ArrayLike = 1.0
) -> jax.Array:
    dtype = real_dtype(x)
    p, nu, tau = (jnp.asarray(value, dtype) for value in (mask.rate, mean, variance))
    q = 1 - p
    # At rate 1 an infinite a would make a NaN gradient, though nothing is kept.
    safe_q = jnp.where(q == 0, 1, q)
    spread = p * (_SATURATION - nu) ** 2 + tau
    a = jnp.where(q == 0, 0 * q, jnp.sqrt(tau / (safe_q * spread)))
    b = nu - a * (q * nu + p * _SATURATION)
    # a * alpha' + b with the factor q taken out.
    return select(mask, x, a, b, nu + a * q * (_SATURATION - nu))


_ALPHA_DROPOUT = Op("alpha_dropout", _law)
_FEATURE_ALPHA_DROPOUT = Op("feature_alpha_dropout", _law)
