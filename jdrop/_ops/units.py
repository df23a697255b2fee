"""Dropout of single units: each element of x has a bit of its own."""

from collections.abc import Sequence

import jax
from jax.typing import ArrayLike

from jdrop._arguments import Key
from jdrop._calls import checked_call
from jdrop._mask import scale_kept
from jdrop._op import Op, apply


@checked_call
def dropout(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    deterministic: bool | jax.Array = False,
    broadcast_dims: Sequence[int] = (),
    offset: ArrayLike = 0,
) -> jax.Array:
    """Zeros each element with probability `rate` and scales the others to make up.

    y = m * x / keep, with m ~ Bernoulli(keep) and keep = 1 - rate, so that E[y] = x.

    keep is the realised one (see `sample_mask`), so the expectation is exact however
    the rate was rounded. Only the packed mask, one bit per element, is kept for the
    backward pass.

    Args:
      key: One `jax.random` key of any implementation, or a legacy uint32 key. It is
        consumed. Or a function that returns one, and is called only where the mask
        depends on a key; None will do where it does not: `deterministic`, rate 0 or 1.
      x: Array of any shape and of a floating-point or complex dtype.
      rate: Probability of dropping, one real number in [0, 1], concrete or traced. A
        traced rate is clamped to [0, 1]; NaN gives NaN; its derivative is zero. None
        will do where `deterministic` is True.
      deterministic: True returns x. A bool, concrete or traced, or a concrete 0 or 1.
      broadcast_dims: Axes along which all elements share a bit.
      offset: Index in the whole batch of the first row of x along axis 0, an integer,
        concrete or traced, for micro-batches and shards.

    Returns:
      An array of the shape, dtype and sharding of x. A dropped NaN or inf is 0, with
      gradient 0. At rate 0 it is x itself; at rate 1 it is zeros.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN, if a batch of keys is
        given, if an axis is not of x, or if rows beyond the limits of the stream are
        asked for by size or offset.
      TypeError: If x is of an integer or bool dtype, if the key is missing, or if
        another argument is of the wrong kind.

    References:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014. Dropout: a
      simple way to prevent neural networks from overfitting. JMLR 15:1929.
      https://jmlr.org/papers/v15/srivastava14a.html

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> x = jnp.ones((2, 1000))
      >>> y = jdrop.dropout(jax.random.key(0), x, 0.5)
      >>> print(jnp.unique(y))
      [0. 2.]
      >>> jdrop.dropout(None, x, 0.5, deterministic=True) is x
      True
    """
    return apply(
        _DROPOUT,
        key,
        (x,),
        rate,
        deterministic=deterministic,
        broadcast_dims=broadcast_dims,
        offset=offset,
    )


_DROPOUT = Op("dropout", scale_kept, complex_ok=True)
