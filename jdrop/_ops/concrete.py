"""Concrete dropout: a rate that is learned."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import Key, as_number, as_rate
from jdrop._calls import checked_call
from jdrop._jet import checkpoint
from jdrop._noise import Noise, draw_noise, times
from jdrop._op import Op, apply
from jdrop._select import real_dtype

# The modules check it too, when they are made.
as_temperature = functools.partial(as_number, "temperature", least=2**-20)


@checked_call
def concrete_dropout(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    temperature: ArrayLike = 0.1,
    deterministic: bool | jax.Array = False,
    broadcast_dims: Sequence[int] = (),
    offset: ArrayLike = 0,
) -> jax.Array:
    """Dropout by a smooth mask, so that the rate has a gradient and can be learned.

    y = x * (1 - z) / keep, with z = sigmoid((logit(rate) + logit(u)) / temperature) and
    u uniform in (0, 1). At temperature 0 it is `dropout`, with a z of 0 or 1.

    For a rate between 0 and 1, take the sigmoid of a parameter, and add
    `concrete_regulariser` to the loss: without it the rate falls to 0. The mean of z is
    near the rate and not equal to it, so E[y] is near x. The backward pass draws u
    again; to learn the rate it keeps x, as any product of the two would.

    Args:
      key: As in `dropout`.
      x: Array of any shape and of a floating-point dtype.
      rate: Probability of dropping, one real number in [0, 1], concrete or traced. A
        traced rate is clamped to [0, 1], and here its derivative is that of y.
      temperature: How smooth the mask is, a number of 2^-20 or more: in the paper 0.1
        for dense layers, 2/3 for the channels of convolutions.
      deterministic: True returns x. A bool, concrete or traced.
      broadcast_dims: Axes along which all elements share a z: for a map of
        (batch, height, width, channels), (1, 2) drops channels.
      offset: As in `dropout`.

    Returns:
      An array of the shape, dtype and sharding of x. At rate 0 it is x itself; at rate
      1 it is zeros. An inf or NaN in x stays one.

    Raises:
      ValueError: As in `dropout`, or if a concrete temperature is below 2^-20.
      TypeError: As in `dropout`, or if x is complex.

    References:
      Gal, Hron and Kendall, 2017. Concrete dropout. https://arxiv.org/abs/1705.07832

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> key, x = jax.random.key(0), jnp.ones(1000)
      >>> loss = lambda rate: jnp.var(jdrop.concrete_dropout(key, x, rate))
      >>> print(f"{jax.grad(loss)(0.2):.1f}")
      1.2
    """
    rate = as_rate(rate)
    return apply(
        _CONCRETE_DROPOUT,
        key,
        (x, rate, as_temperature(temperature)),
        rate,
        deterministic=deterministic,
        broadcast_dims=broadcast_dims,
        offset=offset,
    )


@checked_call
def concrete_regulariser(
    rate: ArrayLike,
    squared_norm: ArrayLike,
    features: ArrayLike,
    *,
    weight_scale: ArrayLike,
    dropout_scale: ArrayLike,
) -> jax.Array:
    """What a layer with `concrete_dropout` on its inputs adds to the loss.

    penalty = weight_scale * |W|^2 / (1 - rate) - dropout_scale * features * H(rate),
    with the entropy H(p) = -p * log(p) - (1 - p) * log(1 - p).

    The first term is the weight decay of a network with dropout, the second one draws
    the rate to 1/2, the more so the fewer the data.

    Args:
      rate: Probability of dropping, in (0, 1), concrete or traced.
      squared_norm: The sum of the squares of the weights W that the dropped features
        enter.
      features: Number of these features, or of channels where channels are dropped.
      weight_scale: l^2 / (tau * N) for N training examples, a prior length scale l and
        a model precision tau; for a loss that is a mean over examples.
      dropout_scale: 2 / (tau * N) for a squared loss, 1 / N for a cross entropy.

    Returns:
      A float32 scalar. At rate 0 and 1 the entropy is 0; at 1 the penalty is infinite
      unless the weights are 0.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN, or if another number is
        negative, or not a scalar.
      TypeError: If one of them is not a real number.

    References:
      Gal, Hron and Kendall, 2017. Concrete dropout, equations 3 and 4.
      https://arxiv.org/abs/1705.07832

    Examples:
      >>> import jdrop
      >>> scales = {"weight_scale": 1e-4, "dropout_scale": 2e-3}
      >>> print(f"{jdrop.concrete_regulariser(0.1, 50.0, 64, **scales):.4f}")
      -0.0361
    """
    p = jnp.asarray(as_rate(rate), jnp.float32)
    for name, number in (
        ("squared_norm", squared_norm),
        ("features", features),
        ("weight_scale", weight_scale),
        ("dropout_scale", dropout_scale),
    ):
        as_number(name, number, 0)
    entropy = jax.scipy.special.entr(p) + jax.scipy.special.entr(1 - p)
    decay = jnp.asarray(weight_scale * squared_norm, jnp.float32) / (1 - p)
    return decay - jnp.asarray(dropout_scale * features, jnp.float32) * entropy


@checkpoint
def _law(
    noise: Noise, x: jax.Array, rate: jax.Array, temperature: jax.Array
) -> jax.Array:
    wide = real_dtype(x)
    p, t = rate.astype(wide), temperature.astype(wide)
    # At both ends the logit has no bound; the values there are limits, selected.
    inside = (p > 0) & (p < 1)
    safe = jnp.where(inside, p, 0.5)
    logits = jax.scipy.special.logit(safe) + noise.logistic(x).astype(wide)
    factor = jax.nn.sigmoid(-logits / t) / (1 - safe)
    end = jnp.where(p >= 1, 0.0, jnp.where(p <= 0, 1.0, p))
    return times(x, jnp.where(inside, factor, end))


_CONCRETE_DROPOUT = Op("concrete_dropout", _law, draw_noise)
