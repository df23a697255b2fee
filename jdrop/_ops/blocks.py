"""Drop block: contiguous regions of a map, dropped as a whole."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jdrop._arguments import (
    Key,
    as_choice,
    as_count,
    as_flag,
    as_input,
    as_rate,
    is_known,
)
from jdrop._axes import all_axes_but, as_axis
from jdrop._calls import checked_call
from jdrop._gamma import seed_rate
from jdrop._jet import checkpoint
from jdrop._mask import Mask
from jdrop._noise import times
from jdrop._op import Op, apply
from jdrop._select import real_dtype
from jdrop._sharding import placed_like
from jdrop._unpack import unpack

# The modules check them too, when they are made.
as_calibration = functools.partial(as_choice, "calibration", choices=("exact", "paper"))
as_per_channel = functools.partial(as_flag, "per_channel")


@checked_call
def drop_block(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    block_size: int | Sequence[int] = 7,
    per_channel: bool = True,
    channel_axis: int | None = -1,
    batch_axis: int | None = 0,
    calibration: str = "exact",
    deterministic: bool | jax.Array = False,
    offset: ArrayLike = 0,
) -> jax.Array:
    """Drops blocks of neighbouring positions, of maps of 1, 2 or 3 dimensions.

    y = m * x * numel(m) / sum(m), with m = 0 in every block whose seed is drawn: each
    place where a block lies wholly in the map seeds one with probability gamma.

    Blocks overlap, so gamma is less than the rate. By default it is the one at which
    the expected share of dropped elements is the rate:
    mean(1 - (1 - gamma)^n) = rate, where n counts the blocks that cover a position. It
    is found with integers, so that a traced rate has the gamma of a number, and then
    rounded as every rate is (see `sample_mask`), which moves the share by 2^-17 mean(n)
    at most. The paper's own gamma, rate / mean(n), takes no account of overlaps and
    drops less. Positions at the edges, in fewer blocks, are dropped less often.

    Each example is normalised by what it keeps of its own positions and channels. The
    paper does so over the whole batch, which would let each example depend on the
    others, and a part of a batch differ from the whole. Where nothing of an example is
    kept there is nothing to scale: it is zeros. That is rare, unless blocks nearly fill
    the map and `per_channel` is off, and takes as much off the expectation.

    For the backward pass only the packed seeds are kept, one bit for each place of a
    block. Devices that share a batch exchange nothing; those that share an example
    exchange its count, and the edges where its positions are cut.

    Args:
      key: As in `dropout`.
      x: Array of a floating-point or complex dtype, such as
        (batch, height, width, channels). All axes that are neither channels nor batch
        are positions: 1 to 3 of them.
      rate: Probability of dropping an element, as in `dropout`.
      block_size: Side of a block, or one for each axis of positions. An axis that is
        shorter is covered whole, as late layers of a network want it.
      per_channel: Whether each channel has blocks of its own, which did better in the
        paper. Otherwise all channels of an example share them.
      channel_axis: The axis of the channels. None if there is none.
      batch_axis: The axis of the examples, each of which has a mask of its own. None if
        x is one example.
      calibration: "exact", or "paper" for the gamma of the paper.
      deterministic: True returns x. A bool, concrete or traced.
      offset: As in `dropout`, where axis 0 is that of the examples.

    Returns:
      An array like that of `dropout`.

    Raises:
      ValueError: As in `dropout`, or if the axes are not of x or are the same, if they
        leave no axis of positions or more than 3, if a block size is below 1 or their
        number is not that of these axes, or if the calibration is another one.
      TypeError: As in `dropout`.

    References:
      Ghiasi, Lin and Le, 2018. DropBlock: a regularization method for convolutional
      networks. https://arxiv.org/abs/1810.12890

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> x = jnp.ones((64, 28, 28, 32))
      >>> y = jdrop.drop_block(jax.random.key(0), x, 0.1, block_size=5)
      >>> print(f"dropped {(y == 0).mean():.2f}, mean {y.mean():.2f}")
      dropped 0.10, mean 1.00
    """
    x = as_input("drop_block", x, complex_ok=True)
    positions = all_axes_but(x.ndim, channel_axis=channel_axis, batch_axis=batch_axis)
    sizes = _sizes(x.shape, positions)
    blocks = _blocks(block_size, sizes)
    as_calibration(calibration)
    own_blocks = as_per_channel(per_channel)
    batch = None if batch_axis is None else as_axis("batch_axis", batch_axis, x.ndim)
    if batch != 0 and not is_known(offset, 0):
        raise ValueError(
            "offset counts examples along axis 0, so batch_axis must be 0 with it; got "
            f"an offset with batch_axis={batch_axis}. Move the examples to axis 0."
        )
    block, shape = [1] * x.ndim, list(x.shape)
    for axis, size, side in zip(positions, sizes, blocks, strict=True):
        block[axis], shape[axis] = side, size - side + 1
    # None will do where x is left alone.
    gamma = (
        rate if rate is None else seed_rate(as_rate(rate), sizes, blocks, calibration)
    )
    others = {batch, *positions}
    shares = () if own_blocks else [i for i in range(x.ndim) if i not in others]
    return apply(
        _drop_block(tuple(block), batch),
        key,
        (x,),
        gamma,
        deterministic=deterministic,
        broadcast_dims=shares,
        shape=tuple(shape),
        offset=offset,
    )


def _sizes(shape: tuple[int, ...], positions: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of the map; raises unless it has 1 to 3 axes of known size."""
    sizes = tuple(shape[axis] for axis in positions)
    if not 1 <= len(sizes) <= 3:
        raise ValueError(
            "drop_block is for maps of 1 to 3 axes of positions, which are all that "
            f"are neither channels nor batch; got x of shape {shape}, of which "
            f"{len(sizes)} are left. Say channel_axis=None or batch_axis=None of an "
            "axis that x does not have."
        )
    if not all(isinstance(size, int) for size in sizes):
        raise ValueError(
            "drop_block counts the blocks that a map has room for, so the sizes of its "
            f"axes must be known; got the symbolic shape {shape}. Leave only the batch "
            "and the channels open."
        )
    return sizes


def _blocks(block_size: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The sides of a block, none longer than the map."""
    if not isinstance(block_size, Sequence):
        block_size = [block_size] * len(sizes)
    if len(block_size) != len(sizes):
        raise ValueError(
            "block_size is one integer, or one for each axis of positions, of which "
            f"there are {len(sizes)}; got {len(block_size)}: {tuple(block_size)}. Pass "
            "one integer for blocks of equal sides."
        )
    sides = [as_count("block_size", side) for side in block_size]
    return tuple(
        min(side, max(size, 1)) for side, size in zip(sides, sizes, strict=True)
    )


@functools.cache
def _drop_block(block: tuple[int, ...], batch: int | None) -> Op:
    """The op of a block that has a side along every axis of x, most of them 1."""
    law = checkpoint(functools.partial(_law, block, batch))
    return Op("drop_block", law, complex_ok=True)


def _law(
    block: tuple[int, ...], batch: int | None, seeds: Mask, x: jax.Array
) -> jax.Array:
    """Applies the mask that seeds give; a 1 bit of theirs is a block that is kept."""
    kept = unpack(seeds.words, seeds.layout).reshape(seeds.shape)
    for axis, side in enumerate(block):
        # One window of all axes took a CPU 16 times as long as one after the other.
        if side > 1:
            kept = _all_in_reach(kept, axis, side)
    kept = placed_like(x, kept)
    axes = tuple(axis for axis in range(x.ndim) if axis != batch)
    count = kept.sum(axes, keepdims=True, dtype=jnp.int32)
    total = math.prod(kept.shape[axis] for axis in axes)
    dtype = real_dtype(x)
    # What keeps nothing would make an infinite scale, and a NaN gradient.
    scale = total / jnp.maximum(count, 1).astype(dtype) + 0 * seeds.rate.astype(dtype)
    return jnp.where(kept, times(x, scale), lax.full_like(x, 0))


def _all_in_reach(kept: jax.Array, axis: int, side: int) -> jax.Array:
    """Whether all blocks of a side that reach a position along an axis are kept."""
    window, padding = [1] * kept.ndim, [(0, 0)] * kept.ndim
    window[axis], padding[axis] = side, (side - 1, side - 1)
    return lax.reduce_window(kept, True, lax.min, window, [1] * kept.ndim, padding)
