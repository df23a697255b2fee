"""What the linen and the nnx modules share; it does not import Flax itself."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import as_axis, as_choice, as_dims, as_number, as_rate

NEEDS_FLAX = 'needs Flax, which could not be imported: pip install "flax>=0.11"'

_ANY_AXIS = 2**31
_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "rate": as_rate,
    "stddev": functools.partial(as_number, "stddev", least=0),
    "broadcast_dims": as_dims,
    "channel_axis": functools.partial(as_axis, "channel_axis", ndim=_ANY_AXIS),
    "mode": functools.partial(as_choice, "mode", choices=("sample", "batch")),
}


def check_fields(fields: Mapping[str, Any]) -> None:
    """Raises as the function of a module would, as far as it can tell without x."""
    for name, value in fields.items():
        if name in _CHECKS:
            _CHECKS[name](value)


def first_logit(rate: ArrayLike) -> jax.Array:
    """What a learned rate begins with: a number whose sigmoid is the rate."""
    return jax.scipy.special.logit(jnp.asarray(as_rate(rate), jnp.float32))
