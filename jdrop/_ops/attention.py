"""Dropout of attention weights: of all of them at once, or block by block.

Both draw the same mask, of shape (batch..., heads, query, key position).
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jdrop._arguments import (
    Key,
    as_count,
    as_deterministic,
    as_flag,
    as_input,
    as_number,
    as_rate,
    is_known,
)
from jdrop._blockwise import WeightBits, attend
from jdrop._calls import checked_call
from jdrop._keys import consume
from jdrop._mask import scale_kept
from jdrop._op import Op, apply
from jdrop._stream import Rate
from jdrop._window import Start


@checked_call
def attention_dropout(
    key: Key,
    weights: ArrayLike,
    rate: ArrayLike,
    *,
    deterministic: bool | jax.Array = False,
    shared: Sequence[str] = (),
    offset: ArrayLike = 0,
) -> jax.Array:
    """Zeros attention weights with probability `rate` and scales the others to make up.

    y = m * weights / keep, with m ~ Bernoulli(keep) and keep = 1 - rate.

    It is `dropout` with names for the axes that share a bit. The sum of a row is 1 in
    expectation only: it is not normalised again.

    Args:
      key: As in `dropout`.
      weights: Array of shape (batch..., heads, query, key position), of a
        floating-point dtype: the softmax of scores. There may be any number of batch
        axes, or none.
      rate: As in `dropout`.
      deterministic: True returns weights. A bool, concrete or traced.
      shared: Names of the axes along which all weights share a bit: "batch" (all axes
        before the heads), "heads", "query". Flax's `broadcast_dropout=True` is
        ("batch", "heads"). With "query", a key position is dropped for all queries.
      offset: As in `dropout`, along axis 0 of weights.

    Returns:
      An array of the shape, dtype and sharding of weights.

    Raises:
      ValueError: If a name is not one of these, or weights has no such axis, and as in
        `dropout`.
      TypeError: If `shared` is a string, and as in `dropout`.

    References:
      Vaswani et al., 2017. Attention is all you need. https://arxiv.org/abs/1706.03762
      has dropout elsewhere; the authors' code, tensor2tensor, has it here as well.

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> scores = jax.random.normal(jax.random.key(0), (2, 4, 16, 16))
      >>> weights = jax.nn.softmax(scores)
      >>> key = jax.random.key(1)
      >>> y = jdrop.attention_dropout(key, weights, 0.5, shared=("batch", "heads"))
      >>> bool(jnp.all((y[0, 0] == 0) == (y[1, 3] == 0)))
      True
    """
    weights = _ATTENTION_DROPOUT.as_input(weights)
    return apply(
        _ATTENTION_DROPOUT,
        key,
        (weights,),
        rate,
        deterministic=deterministic,
        broadcast_dims=_axes_of(shared, weights.ndim),
        offset=offset,
    )


@checked_call
def blockwise_attention(
    key: Key,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    rate: ArrayLike,
    *,
    deterministic: bool | jax.Array = False,
    shared: Sequence[str] = (),
    is_causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    block_size: int = 512,
    offset: ArrayLike = 0,
) -> jax.Array:
    """Attention with dropout of its weights, in memory linear in the sequence.

    y = attention_dropout(key, softmax(scale * q k^T), rate) v

    It is computed over one block of key positions after another, the backward pass
    likewise, from scores and bits that are made again: neither weights nor mask are
    kept. The bits are those that `attention_dropout` draws for the whole weights,
    whatever the block size. All derivatives work, forward ones too, and `jax.vmap`.

    Args:
      key: As in `dropout`.
      q: Queries, of shape (batch..., queries, heads, features), as in
        `jax.nn.dot_product_attention` and in Flax. There may be any number of batch
        axes, or none. Of a floating-point dtype.
      k: Keys, of shape (batch..., key positions, heads, features), and of that dtype.
      v: Values, likewise; their features may be others.
      rate: As in `dropout`.
      deterministic: True drops nothing. A bool, concrete or traced.
      shared: As in `attention_dropout`.
      is_causal: Whether query i attends to key positions 0 to i only.
      mask: Bools that broadcast to (batch..., heads, queries, key positions), True
        where the query attends to the position. None for all True.
      scale: What scores are multiplied by, a real scalar; None for features ** -0.5.
      block_size: The most key positions at a time, an integer. Memory beside arguments
        and result grows with it; the result differs by rounding only.
      offset: As in `dropout`, along axis 0 of the weights: of the batch, if there is
        one.

    Returns:
      An array of shape (batch..., queries, heads, features of v) and of the dtype of q.
      Scores and softmax are computed in float32 or wider. A query that attends to
      nothing gives zeros.

    Raises:
      ValueError: If the shapes do not fit together, a name in `shared` is wrong, or
        `block_size` is below 1, and as in `dropout`.
      TypeError: If q, k and v are not of one floating-point dtype, `mask` is not of
        bools, `is_causal` is not one or `scale` is not a real number, and as in
        `dropout`.

    References:
      Rabe and Staats, 2021. Self-attention does not need O(n^2) memory.
      https://arxiv.org/abs/2112.05682

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 100, 4, 8))
      >>> key = jax.random.key(1)
      >>> y = jdrop.blockwise_attention(key, q, k, v, 0.1, block_size=32)
      >>> weights = jax.nn.softmax(jnp.einsum("btnh,bsnh->bnts", q, k) / 8**0.5)
      >>> weights = jdrop.attention_dropout(key, weights, 0.1)
      >>> plain = jnp.einsum("bnts,bsnh->btnh", weights, v)
      >>> bool(jnp.allclose(y, plain, atol=1e-5))
      True
    """
    q, k, v = (as_input("blockwise_attention", x, complex_ok=False) for x in (q, k, v))
    shape = _weights_shape(q, k, v)
    mask = None if mask is None else _as_attended(mask, shape)
    causal = as_flag("is_causal", is_causal)
    blocks = _balanced(shape[-1], block_size)
    if scale is None:
        scale = q.shape[-1] ** -0.5
    else:
        as_number("scale", scale, -math.inf)
    realised = Rate.of(as_rate(rate))
    mode = as_deterministic(deterministic)
    dims = _axes_of(shared, len(shape))
    start = Start.of(offset, shape, dims, None)
    bits = None
    if mode is not True and not is_known(realised.value, 0):
        one = None
        if not is_known(realised.value, 1):
            one = consume(key() if callable(key) else key)
        is_at_rest = None if mode is False else mode
        bits = WeightBits(one, realised, start, is_at_rest, dims)
    return attend(q, k, v, mask, scale, bits, is_causal=causal, blocks=blocks)


def _balanced(positions: int, block_size: Any) -> tuple[int, int]:
    """How many blocks, as few as can be, and their size, as small as it then can be."""
    most = as_count("block_size", block_size)
    count = max(1, -(-positions // most))
    return count, max(1, -(-positions // count))


def _weights_shape(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[int, ...]:
    """The shape of the weights; raises unless queries, keys and values fit."""
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(
            "q, k and v are of one dtype; got "
            f"{q.dtype}, {k.dtype} and {v.dtype}. Cast them first: k.astype(q.dtype)."
        )
    fits = (
        q.ndim == k.ndim >= 3
        and q.shape[:-3] == k.shape[:-3]
        and q.shape[-2:] == k.shape[-2:]
        and v.shape[:-1] == k.shape[:-1]
    )
    if not fits:
        raise ValueError(
            "q is (batch..., queries, heads, features), k and v are (batch..., key "
            "positions, heads, features), with the same batch axes and heads; got q "
            f"{q.shape}, k {k.shape} and v {v.shape}. Repeat k and v where queries "
            "share them: jnp.repeat(k, group, axis=-2)."
        )
    *batch, queries, heads, _ = q.shape
    return (*batch, heads, queries, k.shape[-3])


def _as_attended(mask: Any, shape: tuple[int, ...]) -> jax.Array:
    """Returns the mask with as many axes as the weights; raises unless it fits."""
    mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(
            "mask holds bools, True where a query attends to a key position; got "
            f"dtype {mask.dtype}. Of a mask of zeros and ones, pass mask != 0."
        )
    full = (1,) * (len(shape) - mask.ndim) + mask.shape
    if len(full) != len(shape) or any(
        m not in (1, n) for m, n in zip(full, shape, strict=True)
    ):
        raise ValueError(
            "mask broadcasts to (batch..., heads, queries, key positions), here "
            f"{shape}; got shape {mask.shape}. A mask of (batch, key positions) is "
            "mask[:, None, None, :]."
        )
    return jnp.asarray(mask).reshape(full)


def _axes_of(names: Any, ndim: int) -> tuple[int, ...]:
    """Returns the axes of weights that names say; raises unless there are such axes."""
    if isinstance(names, str) or not isinstance(names, Collection):
        raise TypeError(
            "shared is a sequence of names of axes, of "
            f"{', '.join(map(repr, _AXES))}; got {names!r}. Pass a tuple such as "
            "('heads',)."
        )
    axes: list[int] = []
    for name in names:
        if name not in _AXES:
            raise ValueError(
                f"shared names axes of attention weights, {', '.join(map(repr, _AXES))}"
                f"; got {name!r}. To share bits along other axes, use "
                "dropout(..., broadcast_dims=...)."
            )
        last = ndim - _AXES[name]
        if last < 0:
            raise ValueError(
                "attention weights are (batch..., heads, query, key position); got "
                f"shared={tuple(names)} for {ndim} dimensions, which have no axis "
                f"{name!r}. Leave out the name, or give weights the axis."
            )
        axes += range(last + 1) if name == "batch" else [last]
    return tuple(sorted(set(axes)))


# The axis of a name, counted from the end; of the batch, its last axis.
_AXES = {"batch": 4, "heads": 3, "query": 2}

_ATTENTION_DROPOUT = Op("attention_dropout", scale_kept)
