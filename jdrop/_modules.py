"""What the linen and the nnx modules share; it does not import Flax itself."""

from collections.abc import Callable

import jax
from jax.typing import ArrayLike

from jdrop import _check

NEEDS_FLAX = 'needs Flax, which could not be imported: pip install "jdrop[flax]"'


def key_where_needed(
    rate: ArrayLike, deterministic: bool | jax.Array, next_key: Callable[[], jax.Array]
) -> jax.Array | None:
    """Asks for the next key only where the mask depends on one, as Flax does.

    A call that leaves its input alone, drops all of it, or is about to fail takes no
    key from a stream: those of the layers after it stay as they are.

    Args:
      rate: Probability of dropping, concrete or traced.
      deterministic: Whether to leave the input alone, concrete or traced.
      next_key: Makes the key, and counts it as used.

    Returns:
      A key, or None where nothing can drop.
    """
    _check.check_rate(rate)
    _check.check_deterministic(deterministic)
    if _check.is_known(deterministic, True) or _check.is_known(rate, 0):
        return None
    if _check.is_known(rate, 1):
        # Any key drops everything.
        return jax.random.key(0)
    return next_key()
