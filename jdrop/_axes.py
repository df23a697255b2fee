"""Axes, shapes and parts of arrays: the law, the value received, the remedy."""

import operator
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from jdrop._arguments import (
    as_uint32,
    describe,
    is_array,
    is_integer,
    is_one_integer,
    is_traced,
    shorten,
)


def as_dims(dims: Any) -> tuple[int, ...]:
    """Returns `broadcast_dims` as a tuple; raises unless it holds integers."""
    is_collection = isinstance(dims, Collection) and not isinstance(dims, str)
    if is_array(dims):
        is_collection = np.ndim(dims) == 1
    if not is_collection or not all(is_one_integer(dim) for dim in dims):
        remedy = f"({dims},)" if is_one_integer(dims) else "(0, 1)"
        raise TypeError(
            "broadcast_dims holds integers, the axes that share a mask; got "
            f"{describe(dims)}. Pass a tuple such as {remedy}."
        )
    return tuple(operator.index(dim) for dim in dims)


def as_axes(dims: object, ndim: int) -> tuple[int, ...]:
    """Returns `dims` as axes counted from the front; raises if one is not of x."""
    axes = as_dims(dims)
    for axis in axes:
        if not -ndim <= axis < ndim:
            raise ValueError(
                f"broadcast_dims must be axes of an array of {ndim} dimensions; got "
                f"{axis} in {axes}. Axes run from {-ndim} to {ndim - 1}."
            )
    return tuple(sorted({axis % ndim for axis in axes}))


def as_axis(name: str, axis: Any, ndim: int) -> int:
    """Returns an axis counted from the front; raises if it is not one of x."""
    if not is_integer(axis) or np.ndim(axis) != 0:
        raise TypeError(
            f"{name} is one axis of x, an integer; got {describe(axis)}. Pass its "
            "number, such as 0 or -1."
        )
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        remedy = f"Axes run from {-ndim} to {ndim - 1}."
        if ndim == 0:
            remedy = "The array comes after the key, before all numbers."
        raise ValueError(
            f"{name} must be an axis of x, which has {ndim} dimensions; got {index}. "
            f"{remedy}"
        )
    return index % ndim


def all_axes_but(ndim: int, **named: object) -> tuple[int, ...]:
    """The axes of x that are not named; None names none, and no two name one."""
    axes = {
        name: as_axis(name, axis, ndim)
        for name, axis in named.items()
        if axis is not None
    }
    if len(set(axes.values())) < len(axes):
        raise ValueError(
            f"{' and '.join(axes)} must be different axes of x, which has {ndim} "
            f"dimensions; got {' and '.join(str(named[name]) for name in axes)}. An "
            "axis that x does not have is said as None."
        )
    return tuple(axis for axis in range(ndim) if axis not in axes.values())


def as_offset(offset: Any, shape: tuple[int, ...]) -> tuple[np.uint32 | jax.Array, ...]:
    """Returns `offset` as the indices of leading axes, in uint32: one, or none.

    Raises unless axis 0 can be counted from there.
    """
    kind = "offset is the index of the first example along axis 0"
    if isinstance(offset, tuple | list):
        raise TypeError(
            f"{kind}, one integer; got {describe(offset)}. To begin along several "
            "axes, pass the shape of the larger array as well: within=shape."
        )
    index = _as_index(kind, offset)
    if shape:
        return (index,)
    if not is_traced(index) and int(index):
        raise ValueError(
            f"{kind}, and a scalar has no axis; got {describe(offset)}. Pass no "
            "offset, or reshape x to one axis."
        )
    return ()


def as_window(
    offset: Any, shape: tuple[int, ...], within: Any
) -> tuple[tuple[np.uint32 | jax.Array, ...], tuple[int, ...]]:
    """Returns one index an axis, and `within`; raises unless the window fits in it."""
    whole = as_shape(within, "within")
    kind = "a window begins at an index along each axis of `within`"
    if not isinstance(offset, tuple | list):
        offset = (offset, *[0] * (len(shape) - 1))[: len(shape)]
    if not len(offset) == len(shape) == len(whole):
        raise ValueError(
            f"{kind}; got an offset {tuple(offset)}, a shape {shape} and within="
            f"{whole}. Give all of them as many axes."
        )
    index = tuple(_as_index(kind, i) for i in offset)
    for axis, (i, size, limit) in enumerate(zip(index, shape, whole, strict=True)):
        end = (0 if is_traced(i) else int(i)) + size
        if end > limit:
            raise ValueError(
                f"{kind}, and ends within it; got an end of {end} along axis {axis} of "
                f"{limit}. Pass a smaller shape for the last window."
            )
    return index, whole


def _as_index(kind: str, index: Any) -> np.uint32 | jax.Array:
    if not is_integer(index):
        raise TypeError(
            f"{kind}, an integer; got {describe(index)}. Pass how many come before."
        )
    if np.ndim(index) != 0:
        raise ValueError(
            f"{kind}, one integer; got an array of shape {np.shape(index)}. "
            "Use jax.vmap for several."
        )
    if not is_traced(index) and not 0 <= int(index) < 2**32:
        raise ValueError(
            f"{kind}: it lies in [0, 2^32); got {shorten(str(int(index)))}. Pass how "
            "many come before."
        )
    return as_uint32(index)


def as_shape(shape: Any, name: str = "shape") -> tuple[int, ...]:
    """Returns a shape as a tuple of ints; raises unless it is one, none negative."""
    try:
        axes = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(
            f"{name} is a sequence of integers; got {describe(shape)}. Pass x.shape."
        ) from None
    if any(n < 0 for n in axes):
        raise ValueError(f"{name} has no negative axis; got {axes}. Pass x.shape.")
    return axes


def is_at_least(size: Any, limit: int, shape: tuple[Any, ...]) -> bool:
    """Whether a size reaches a limit; raises where a symbol leaves that open."""
    try:
        return bool(size >= limit)
    except jax.errors.InconclusiveDimensionOperation:
        raise ValueError(
            f"a mask has another layout where {size} >= {limit} than where it is not; "
            f"got the symbolic shape {shape}, which leaves it open. Add the constraint "
            f"'{size} >= {limit}' or '{size} <= {limit - 1}' to the symbolic shape."
        ) from None


def check_size(first: Any, others: Any, max_first: int, max_others: int) -> None:
    """Raises if a mask would need more counters than the stream has.

    A symbolic size, in an exported program, is trusted.
    """
    if not isinstance(first, int) or not isinstance(others, int):
        return
    if first > max_first or others > max_others:
        raise ValueError(
            f"the stream numbers {max_first} words along the first axis, those before "
            f"an offset counted, and {max_others} along the others; got "
            f"{shorten(str(first))} and {shorten(str(others))}. Split the array and "
            "use a key for each part."
        )


def check_fits(mask_shape: tuple[int, ...], x_shape: tuple[int, ...]) -> None:
    """Raises unless a mask covers x: equal axes, or axes of 1 that it shares."""
    fits = len(mask_shape) == len(x_shape) and all(
        m in (1, n) for m, n in zip(mask_shape, x_shape, strict=True)
    )
    if not fits:
        raise ValueError(
            "a mask fits an array of its own shape, or one that it broadcasts to with "
            f"axes of size 1; got a mask of shape {mask_shape} and x of shape "
            f"{x_shape}. Sample it with sample_mask(key, x.shape, rate)."
        )


def check_same(name: str, x: jax.Array, previous: jax.Array) -> None:
    """Raises unless two states are of one shape and one dtype."""
    shapes = x.shape, previous.shape
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{name} chooses between two states of one shape; got x of shape "
            f"{shapes[0]} and previous of shape {shapes[1]}. Pass the state before the "
            "step, after x."
        )
    dtypes = x.dtype, previous.dtype
    if dtypes[0] != dtypes[1]:
        raise TypeError(
            f"{name} chooses between two states of one dtype; got x of dtype "
            f"{dtypes[0]} and previous of dtype {dtypes[1]}. Cast one of them first."
        )
