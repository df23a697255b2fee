"""What the linen and the nnx modules share; it does not import Flax itself."""

from jax.typing import ArrayLike

from jdrop._arguments import as_dims, as_rate

NEEDS_FLAX = 'needs Flax, which could not be imported: pip install "flax>=0.11"'


def check_fields(rate: ArrayLike | None, broadcast_dims: object) -> tuple[int, ...]:
    """Raises as the function of a module would; returns the axes, of any array.

    A rate of None is left to the call, which may be deterministic.
    """
    if rate is not None:
        as_rate(rate)
    return as_dims(broadcast_dims)
