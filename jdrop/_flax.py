"""What the linen and the nnx modules share; it does not import Flax itself."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import as_rate
from jdrop._axes import as_axis, as_dims
from jdrop._ops import alpha, blocks, concrete, features, noise, tokens

NEEDS_FLAX = 'needs Flax, which could not be imported: pip install "flax>=0.11"'


def _check_axis(name: str, axis: Any) -> None:
    """Raises unless it is an axis of some array, or None for one that x lacks."""
    if axis is not None:
        as_axis(name, axis, ndim=2**31)


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "rate": as_rate,
    "stddev": noise.as_stddev,
    "broadcast_dims": as_dims,
    "channel_axis": functools.partial(_check_axis, "channel_axis"),
    "batch_axis": functools.partial(_check_axis, "batch_axis"),
    "temperature": concrete.as_temperature,
    "mean": alpha.as_mean,
    "variance": alpha.as_variance,
    "prefix_tokens": tokens.as_prefix_tokens,
    "calibration": blocks.as_calibration,
    "per_channel": blocks.as_per_channel,
    "mode": features.as_mode,
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
