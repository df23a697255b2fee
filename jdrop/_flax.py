"""What the linen and the nnx modules share; it does not import Flax itself."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import as_choice, as_count, as_number, as_rate
from jdrop._axes import as_axis, as_dims

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
    "temperature": functools.partial(as_number, "temperature", least=2**-20),
    "mean": functools.partial(as_number, "mean", least=-math.inf),
    "variance": functools.partial(as_number, "variance", least=1e-30),
    "prefix_tokens": functools.partial(as_count, "prefix_tokens", least=0),
    "calibration": functools.partial(
        as_choice, "calibration", choices=("exact", "paper")
    ),
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
