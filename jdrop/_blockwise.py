"""Attention by blocks of key positions, with dropout of its weights.

The mask is drawn in windows, each where it is used, and neither it nor the weights are
ever there as a whole.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop._mask import draw_mask, scale_kept
from jdrop._select import real_dtype
from jdrop._sharding import sharded_like
from jdrop._stream import Rate
from jdrop._window import Start, shared


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("key", "rate", "start", "is_at_rest"),
    meta_fields=("dims",),
)
@dataclasses.dataclass(frozen=True)
class WeightBits:
    """What decides the bits of the weights.

    Attributes:
      key: A single key, or None where the rate is known to be 1.
      rate: The realised rate.
      start: Where the mask of the weights begins along axis 0.
      is_at_rest: Whether nothing is dropped after all; None where that is known.
      dims: Axes of the weights along which bits are shared.
    """

    key: jax.Array | None
    rate: Rate
    start: Start
    is_at_rest: jax.Array | None
    dims: tuple[int, ...]

    def drop(self, x: jax.Array, first: jax.Array, whole: tuple[int, ...]) -> jax.Array:
        """Drops from the columns of the weights that begin at `first`."""
        others = [None] * (len(whole) - 1 - len(self.start.index))
        start = Start(
            (*self.start.index, *others, first),
            self.start.is_aligned,
            shared(whole, self.dims),
        )
        mask = draw_mask(self.key, shared(x.shape, self.dims), start, self.rate)
        y = scale_kept(mask, x)
        return y if self.is_at_rest is None else lax.select_n(self.is_at_rest, y, x)


@functools.partial(jax.jit, static_argnames=("is_causal", "blocks"))
def attend(
    q: jax.Array, *others: Any, is_causal: bool, blocks: tuple[int, int]
) -> jax.Array:
    """Attends block by block; the result is placed like the queries.

    Args:
      q: Queries, of shape (batch..., queries, heads, features).
      *others: Keys, values, bools with as many axes as the weights or None, the scale
        of scores, and `WeightBits` or None.
      is_causal: Whether query i attends to key positions 0 to i only.
      blocks: The number of blocks of key positions, and their size.

    Returns:
      An array of shape (batch..., queries, heads, features of the values).
    """
    run = functools.partial(_scan_blocks, is_causal=is_causal, blocks=blocks)
    return sharded_like(q, run)(q, *others)


def _scan_blocks(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array | None,
    scale: ArrayLike,
    bits: WeightBits | None,
    *,
    is_causal: bool,
    blocks: tuple[int, int],
) -> jax.Array:
    """Two scans: the largest score of each query, then the sums over blocks.

    Against that maximum, a constant, what each block adds does not depend on what was
    there before. So reverse mode keeps no carry of any step, and the blocks themselves
    are arguments: a running maximum would have it keep all partial sums.
    """
    *batch, queries, heads, _ = q.shape
    shape = (*batch, heads, queries, k.shape[-3])
    wide = real_dtype(q)
    scale = jnp.asarray(scale).astype(wide)
    count, size = blocks
    if mask is not None and mask.shape[-1] != 1:
        mask = _filled_up(mask, count * size, len(shape) - 1)
    attended = functools.partial(_attended, mask, shape, is_causal, size)

    def scores(
        q: jax.Array, scale: jax.Array, k: jax.Array, first: jax.Array
    ) -> jax.Array:
        products = jnp.einsum(
            "...tnh,...snh->...nts", q, k, preferred_element_type=wide
        )
        return jnp.where(attended(first), products * scale, -jnp.inf)

    def largest(k: jax.Array, first: jax.Array) -> jax.Array:
        constants = lax.stop_gradient((q, scale, k))
        return scores(*constants, first).max(axis=-1, initial=-jnp.inf, keepdims=True)

    # In a loop nothing can be shared with the forward pass, which is what this option
    # would prevent at a price.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def sums(
        k: jax.Array, v: jax.Array, first: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        e = jnp.exp(scores(q, scale, k, first) - top)
        kept = e if bits is None else bits.drop(e, first, shape)
        kept = kept.astype(v.dtype)
        return (
            jnp.einsum("...nts,...snh->...tnh", kept, v, preferred_element_type=wide),
            jnp.swapaxes(e.sum(axis=-1, keepdims=True), -3, -2),
        )

    firsts = jnp.arange(count, dtype=jnp.uint32) * np.uint32(size)
    ks, vs = _split(k, blocks), _split(v, blocks)
    top = _fold(jnp.maximum, -jnp.inf, largest, (ks, firsts))
    # Of a query that attends to nothing, all exponentials are then 0, not NaN.
    top = jnp.where(top == -jnp.inf, jnp.zeros_like(top), top)
    y, total = _fold(jnp.add, 0, sums, (ks, vs, firsts))
    return (y / jnp.where(total == 0, jnp.ones_like(total), total)).astype(q.dtype)


def _fold(
    combine: Callable[..., jax.Array],
    identity: float,
    function: Callable[..., Any],
    blocks: Any,
) -> Any:
    """Combines what a function gives of the blocks, one after another."""

    def step(carry: Any, block: Any) -> tuple[Any, None]:
        return jax.tree.map(combine, carry, function(*block)), None

    # Inside shard_map a carry has to vary over the mesh axes from the start.
    like = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], blocks))
    start = jax.tree.map(lambda x: jnp.full_like(x, identity), like)
    return lax.scan(step, start, blocks)[0]


def _attended(
    mask: jax.Array | None,
    shape: tuple[int, ...],
    is_causal: bool,
    size: int,
    first: jax.Array,
) -> jax.Array:
    """Which key positions of a block each query attends to: those beyond all, none."""
    axis = len(shape) - 1
    first = first.astype(jnp.int32)
    along = (1,) * axis + (size,)
    position = first + lax.broadcasted_iota(jnp.int32, along, axis)
    attended = position < shape[-1]
    if is_causal:
        along = (*(1,) * (axis - 1), shape[-2], 1)
        attended &= position <= lax.broadcasted_iota(jnp.int32, along, axis - 1)
    if mask is None:
        return attended
    if mask.shape[-1] != 1:
        mask = lax.dynamic_slice_in_dim(mask, first, size, axis)
    return attended & mask


def _split(x: jax.Array, blocks: tuple[int, int]) -> jax.Array:
    """Blocks of key positions along a new first axis."""
    count, size = blocks
    axis = x.ndim - 3
    x = _filled_up(x, count * size, axis)
    x = x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)


def _filled_up(x: jax.Array, size: int, axis: int) -> jax.Array:
    """Zeros, or False, after x along an axis, up to a size."""
    missing = [(0, 0)] * x.ndim
    missing[axis] = (0, size - x.shape[axis])
    return jnp.pad(x, missing)
