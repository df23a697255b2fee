"""What every op does around its law: check, leave alone, draw, apply, place."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop import _check
from jdrop._mask import Mask, draw_mask
from jdrop._sharding import sharded_like
from jdrop._stream import consume, known_pairs

Law = Callable[[Mask, jax.Array], jax.Array]


def apply_law(
    law: Law,
    key: jax.Array | None,
    x: jax.Array,
    rate: ArrayLike,
    *,
    deterministic: bool | jax.Array,
    broadcast_dims: Sequence[int],
    offset: ArrayLike,
) -> jax.Array:
    """Returns `law(mask, x)` with a fresh mask, or x itself where nothing can drop.

    Args:
      law: The equation of the op: takes a mask and x, returns an array like x.
      key: A single key. Not needed where nothing can drop.
      x: The checked input.
      rate: Probability of dropping.
      deterministic: Whether to leave x alone.
      broadcast_dims: Axes that share a bit.
      offset: Index of the first row along axis 0.

    Returns:
      An array of the shape, dtype and placement of x.
    """
    p = _check.check_rate(rate)
    _check.check_deterministic(deterministic)
    dims = _check.check_broadcast_dims(broadcast_dims, x.ndim)
    first = _check.check_offset(offset, x.shape)
    if _check.is_known(deterministic, True) or _check.is_known(p, 0):
        return x
    key = consume(_check.check_key(key))
    if _check.is_traced(deterministic):
        p = jnp.where(deterministic, 0.0, jnp.asarray(p).astype(jnp.float32))
    return _draw_and_apply(law, key, x, p, dims, first, known_pairs(p))


@functools.partial(jax.jit, static_argnames=("law", "broadcast_dims", "pairs"))
def _draw_and_apply(
    law: Law,
    key: jax.Array,
    x: jax.Array,
    rate: jax.Array,
    broadcast_dims: tuple[int, ...],
    first_row: jax.Array,
    pairs: int | None,
) -> jax.Array:
    def draw_and_apply(
        key: jax.Array, x: jax.Array, rate: jax.Array, first_row: jax.Array
    ) -> jax.Array:
        mask = draw_mask(key, x.shape, rate, broadcast_dims, first_row, pairs)
        return law(mask, x)

    return sharded_like(x, draw_and_apply)(key, x, rate, first_row)
