"""Dropout of whole slices: the channels of a map, the branch of a residual block."""

import functools

import jax
import numpy as np
from jax.typing import ArrayLike

from jdrop._arguments import Key, as_choice, as_count, as_rate
from jdrop._axes import all_axes_but
from jdrop._calls import checked_call
from jdrop._mask import scale_kept
from jdrop._op import Op, apply

# The modules check it too, when they are made.
as_mode = functools.partial(as_choice, "mode", choices=("sample", "batch"))


@checked_call
def feature_dropout(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    channel_axis: int = -1,
    batch_axis: int | None = 0,
    deterministic: bool | jax.Array = False,
    offset: ArrayLike = 0,
) -> jax.Array:
    """Dropout of whole channels: all positions of a channel share a bit.

    y = m * x / keep, with one m ~ Bernoulli(keep) for each channel of each example.

    In convolutional maps neighbours are alike, so single units that are dropped are
    made up for by those beside them; whole channels are not. The axes are said by name
    and never guessed: all that are neither channels nor batch are positions, of maps of
    1, 2, 3 or no dimensions.

    Args:
      key: As in `dropout`.
      x: Array of a floating-point or complex dtype, such as
        (batch, height, width, channels).
      rate: As in `dropout`.
      channel_axis: The axis of the channels.
      batch_axis: The axis of the examples, each of which has a mask of its own. None if
        x is one example, or if all of them are to share a mask.
      deterministic: True returns x. A bool, concrete or traced.
      offset: As in `dropout`.

    Returns:
      An array like that of `dropout`.

    Raises:
      ValueError: As in `dropout`, or if the axes are not of x or are the same.
      TypeError: As in `dropout`.

    References:
      Tompson, Goroshin, Jain, LeCun and Bregler, 2015. Efficient object localization
      using convolutional networks. https://arxiv.org/abs/1411.4280

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> x = jnp.ones((8, 16, 16, 64))
      >>> y = jdrop.feature_dropout(jax.random.key(0), x, 0.5)
      >>> bool((y == y[:, :1, :1]).all())
      True
    """
    x = _FEATURE_DROPOUT.as_input(x)
    return apply(
        _FEATURE_DROPOUT,
        key,
        (x,),
        rate,
        deterministic=deterministic,
        broadcast_dims=all_axes_but(
            x.ndim, channel_axis=channel_axis, batch_axis=batch_axis
        ),
        offset=offset,
    )


@checked_call
def drop_path(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    mode: str = "sample",
    deterministic: bool | jax.Array = False,
    offset: ArrayLike = 0,
) -> jax.Array:
    """Stochastic depth: drops the branch of a residual block, as a whole.

    y = m * x / keep, with one m ~ Bernoulli(keep) for each example or for the batch.

    Apply it to the branch, and not to the sum: x + drop_path(key, branch(x), rate). The
    paper lets the rate grow with depth; see `drop_path_rates`.

    Args:
      key: As in `dropout`.
      x: The output of a branch, an array of a floating-point or complex dtype whose
        axis 0 numbers the examples.
      rate: As in `dropout`.
      mode: "sample": each example has a bit of its own; "batch": all share one, as in
        the paper.
      deterministic: True returns x. A bool, concrete or traced.
      offset: As in `dropout`; it has no effect in mode "batch".

    Returns:
      An array like that of `dropout`.

    Raises:
      ValueError: As in `dropout`, or if the mode is another one.
      TypeError: As in `dropout`.

    References:
      Huang, Sun, Liu, Sedra and Weinberger, 2016. Deep networks with stochastic depth.
      https://arxiv.org/abs/1603.09382

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> branch = jnp.ones((1000, 4))
      >>> y = jdrop.drop_path(jax.random.key(0), branch, 0.5)
      >>> print(jnp.unique(y.sum(axis=1)))
      [0. 8.]
    """
    x = _DROP_PATH.as_input(x)
    as_mode(mode)
    return apply(
        _DROP_PATH,
        key,
        (x,),
        rate,
        deterministic=deterministic,
        broadcast_dims=range(1 if mode == "sample" else 0, x.ndim),
        offset=offset,
    )


@checked_call
def drop_path_rates(depth: int, rate: ArrayLike) -> jax.Array | np.ndarray:
    """The rates of the blocks of a network with stochastic depth: a linear ladder.

    rates[l] = rate * l / (depth - 1), for the blocks l = 0, ..., depth - 1.

    The first block, whose features all others use, is never dropped, and the last one
    with probability `rate`. A network of one block has the full rate.

    Args:
      depth: Number of blocks, 1 or more.
      rate: Probability of dropping the last one, in [0, 1], concrete or traced.

    Returns:
      A float32 array of shape (depth,): of NumPy, or of JAX where the rate is traced.

    Raises:
      ValueError: If the depth is below 1, or a concrete rate is outside [0, 1].
      TypeError: If the depth is not an integer, or the rate is not a real number.

    References:
      Huang, Sun, Liu, Sedra and Weinberger, 2016. Deep networks with stochastic depth,
      section 3; the ladder as vision transformers use it begins at 0.
      https://arxiv.org/abs/1603.09382

    Examples:
      >>> import jdrop
      >>> print(jdrop.drop_path_rates(5, 0.2))
      [0.   0.05 0.1  0.15 0.2 ]
    """
    depth = as_count("depth", depth)
    ladder = np.linspace(1 if depth == 1 else 0, 1, depth, dtype=np.float32)
    return ladder * as_rate(rate)


_FEATURE_DROPOUT = Op("feature_dropout", scale_kept, complex_ok=True)
_DROP_PATH = Op("drop_path", scale_kept, complex_ok=True)
