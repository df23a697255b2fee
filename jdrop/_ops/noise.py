"""Gaussian noise: multiplied like a dropout, or added."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import Key, as_number, is_known
from jdrop._calls import checked_call
from jdrop._jet import checkpoint
from jdrop._noise import Noise, draw_noise, plus, times
from jdrop._op import Op, apply
from jdrop._select import real_dtype

# The modules check it too, when they are made.
as_stddev = functools.partial(as_number, "stddev", least=0)


@checked_call
def gaussian_dropout(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    deterministic: bool | jax.Array = False,
    broadcast_dims: Sequence[int] = (),
    offset: ArrayLike = 0,
) -> jax.Array:
    """Multiplies each element by normal noise with the moments of dropout's.

    y = x * (1 + sqrt(rate / keep) * n), with n ~ N(0, 1), so that E[y] = x and
    Var[y | x] = x^2 * rate / keep, as `dropout` has them.

    Nothing is dropped: an inf or NaN in x stays one. n comes from uniform numbers of 24
    bits that are the same everywhere; what is computed of them may differ by rounding
    from one processor to another. The backward pass draws it again: nothing of the size
    of x is kept.

    Args:
      key: As in `dropout`.
      x: Array of any shape and of a floating-point or complex dtype.
      rate: The probability of dropping of a `dropout` as noisy, as in `dropout`.
      deterministic: True returns x. A bool, concrete or traced.
      broadcast_dims: Axes along which all elements share their noise.
      offset: As in `dropout`.

    Returns:
      An array of the shape, dtype and sharding of x. At rate 0 it is x itself. At rate
      1, where the variance has no bound, it is zeros, as in `dropout`.

    Raises:
      ValueError: As in `dropout`.
      TypeError: As in `dropout`.

    References:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014. Dropout: a
      simple way to prevent neural networks from overfitting, section 10. JMLR 15:1929.
      https://jmlr.org/papers/v15/srivastava14a.html

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> y = jdrop.gaussian_dropout(jax.random.key(0), jnp.ones((1000, 1000)), 0.2)
      >>> print(f"mean {y.mean():.2f}, variance {y.var():.2f}")
      mean 1.00, variance 0.25
    """
    return apply(
        _GAUSSIAN_DROPOUT,
        key,
        (x,),
        rate,
        deterministic=deterministic,
        broadcast_dims=broadcast_dims,
        offset=offset,
    )


@checked_call
def gaussian_noise(
    key: Key,
    x: ArrayLike,
    stddev: ArrayLike,
    *,
    deterministic: bool | jax.Array = False,
    broadcast_dims: Sequence[int] = (),
    offset: ArrayLike = 0,
) -> jax.Array:
    """Adds normal noise to each element.

    y = x + stddev * n, with n ~ N(0, 1), so that E[y] = x.

    Noise on the inputs is the oldest of these regularisers: to second order it adds
    stddev^2 / 2 times the squared gradient of the outputs to a squared loss (Tikhonov).
    The n are those of `gaussian_dropout` under the same key.

    Args:
      key: As in `dropout`. None will do at a standard deviation of 0.
      x: Array of any shape and of a floating-point dtype.
      stddev: Standard deviation of the noise, in the units of x: a finite number of 0
        or more, concrete or traced. It may be learned: y has a derivative by it.
      deterministic: True returns x. A bool, concrete or traced.
      broadcast_dims: Axes along which all elements share their noise.
      offset: As in `dropout`.

    Returns:
      An array of the shape, dtype and sharding of x. At a standard deviation of 0 it is
      x itself.

    Raises:
      ValueError: As in `dropout`, or if a concrete standard deviation is negative.
      TypeError: As in `dropout`, or if x is complex.

    References:
      Bishop, 1995. Training with noise is equivalent to Tikhonov regularization.
      https://doi.org/10.1162/neco.1995.7.1.108

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> y = jdrop.gaussian_noise(jax.random.key(0), jnp.ones((1000, 1000)), 0.1)
      >>> print(f"mean {y.mean():.2f}, deviation {y.std():.2f}")
      mean 1.00, deviation 0.10
    """
    stddev = as_stddev(stddev)
    return apply(
        _GAUSSIAN_NOISE,
        key,
        (x, stddev),
        # It drops nothing. At any rate between the ends, the frame asks for a key.
        0 if is_known(stddev, 0) else 0.5,
        deterministic=deterministic,
        broadcast_dims=broadcast_dims,
        offset=offset,
    )


@checkpoint
def _multiplied(noise: Noise, x: jax.Array) -> jax.Array:
    wide = real_dtype(x)
    p = noise.rate.astype(wide)
    # At rate 1 a variance without bound would make a NaN gradient.
    safe_keep = jnp.where(p == 1, 1, 1 - p)
    factor = 1 + jnp.sqrt(p / safe_keep) * noise.normal(x).astype(wide)
    return times(x, jnp.where(p == 1, 0, factor))


@checkpoint
def _added(noise: Noise, x: jax.Array, stddev: jax.Array) -> jax.Array:
    wide = real_dtype(x)
    return plus(x, stddev.astype(wide) * noise.normal(x).astype(wide))


_GAUSSIAN_DROPOUT = Op("gaussian_dropout", _multiplied, draw_noise, complex_ok=True)
_GAUSSIAN_NOISE = Op("gaussian_noise", _added, draw_noise)
