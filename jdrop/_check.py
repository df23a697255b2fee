"""Every error that the functions raise: the law, the value received, the remedy.

What is concrete is checked; what is traced is trusted.
"""

import operator
from collections.abc import Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np


def is_traced(value: Any) -> TypeGuard[jax.Array]:
    """Whether a value is only known when the compiled program runs."""
    return isinstance(value, jax.core.Tracer)


def is_known(value: Any, constant: float) -> bool:
    """Whether a value is concrete and equals a constant."""
    return not is_traced(value) and bool(value == constant)


def check_rate(rate: Any) -> Any:
    """Returns `rate` in float32 if it is a number, so that all numbers share a trace.

    Raises unless it is a real scalar which, if concrete, lies in [0, 1].
    """
    kind = "rate is the probability of dropping: one real number in [0, 1]"
    if not _is_real(rate):
        raise TypeError(f"{kind}; got {_describe(rate)}. Pass a float such as 0.1.")
    if np.ndim(rate) != 0:
        raise ValueError(
            f"{kind}; got an array of shape {np.shape(rate)}. "
            "Use jax.vmap to apply several rates."
        )
    if not is_traced(rate) and not 0 <= float(rate) <= 1:
        raise ValueError(
            f"{kind}; got {float(rate)}. 0 keeps everything, 1 drops everything."
        )
    return rate if isinstance(rate, jax.Array) else np.float32(rate)


def check_deterministic(deterministic: Any) -> None:
    """Raises unless `deterministic` is a bool, concrete or traced."""
    if isinstance(deterministic, bool | np.bool_):
        return
    if isinstance(deterministic, jax.Array):
        if deterministic.dtype == bool and deterministic.ndim == 0:
            return
    raise TypeError(
        "deterministic is one bool: True returns x, False drops; got "
        f"{_describe(deterministic)}. Pass deterministic=not training."
    )


def check_input(name: str, x: Any, *, complex_ok: bool = True) -> jax.Array:
    """Returns `x` as an array; raises unless it holds floating-point numbers."""
    x = x if isinstance(x, jax.Array) else jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        if complex_ok:
            return x
        raise TypeError(
            f"{name} is defined for real x; got dtype {x.dtype}. "
            "Apply it to the real and the imaginary part."
        )
    raise TypeError(
        f"{name} scales what it keeps, so x must be floating-point; got dtype "
        f"{x.dtype}. Cast it first: x.astype(jnp.float32)."
    )


def check_key(key: Any) -> jax.Array:
    """Returns `key` as an array; raises unless it is one key, typed or legacy."""
    remedy = "Make a key with jax.random.key(seed)"
    if key is None:
        raise TypeError(
            "a random key is needed unless rate is 0 or deterministic is True; got "
            f"None. {remedy} and pass it first, or pass deterministic=True."
        )
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(
            f"key must be a jax.random key; got {_describe(key)}. {remedy}."
        )
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        batch = key.shape
    elif key.dtype == np.uint32 and key.ndim > 0 and key.shape[-1] in (1, 2, 4):
        batch = key.shape[:-1]
    else:
        raise TypeError(
            "key must be a jax.random key, typed or of 1, 2 or 4 uint32 words; got "
            f"{_describe(key)}. {remedy}."
        )
    if batch:
        raise ValueError(
            f"key must be a single key; got a batch of keys of shape {batch}. "
            "Map over a batch with jax.vmap."
        )
    return jnp.asarray(key)


def check_broadcast_dims(dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Returns `dims` as axes counted from the front; raises if one is not of x."""
    if not isinstance(dims, Sequence | np.ndarray):
        raise TypeError(
            "broadcast_dims is a sequence of axes that share a mask; got "
            f"{_describe(dims)}. Pass a tuple such as ({dims},)."
        )
    if not all(_is_integer(dim) for dim in dims):
        raise TypeError(f"broadcast_dims holds integers; got {_describe(dims)}.")
    axes = [operator.index(dim) for dim in dims]
    for axis in axes:
        if not -ndim <= axis < ndim:
            raise ValueError(
                f"broadcast_dims must be axes of an array of {ndim} dimensions; got "
                f"{axis} in {tuple(axes)}. Axes run from {-ndim} to {ndim - 1}."
            )
    return tuple(sorted({axis % ndim for axis in axes}))


def check_offset(offset: Any, shape: tuple[int, ...]) -> Any:
    """Returns `offset` in uint32; raises unless axis 0 can be counted from there."""
    kind = "offset is the index of the first example along axis 0"
    if not _is_integer(offset):
        raise TypeError(f"{kind}, an integer; got {_describe(offset)}.")
    if np.ndim(offset) != 0:
        raise ValueError(
            f"{kind}, one integer; got an array of shape {np.shape(offset)}. "
            "Use jax.vmap for several."
        )
    if not is_traced(offset) and int(offset) == 0:
        return np.uint32(0)
    if len(shape) < 2:
        raise ValueError(
            f"{kind}, and an array of shape {shape} has no axis of examples beside "
            "its lanes. Reshape x to (examples, 1) or more dimensions."
        )
    if not is_traced(offset) and not 0 <= int(offset) < 2**32:
        raise ValueError(f"{kind}: it lies in [0, 2^32); got {int(offset)}.")
    return _as_uint32(offset)


def check_shape(shape: Any) -> tuple[int, ...]:
    """Returns `shape` as a tuple of ints; raises unless it is one, none negative."""
    try:
        axes = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(
            f"shape is a sequence of integers; got {_describe(shape)}. Pass x.shape."
        ) from None
    if any(n < 0 for n in axes):
        raise ValueError(f"shape has no negative axis; got {axes}. Pass x.shape.")
    return axes


def check_path(path: tuple[Any, ...]) -> list[Any]:
    """Returns the parts of a path, its integers in uint32; raises if one is neither."""
    kind = "a path holds strings and integers in [0, 2^32), at least one"
    if not path:
        raise ValueError(f"{kind}; got none. Name the layer: key_for(key, 'layer').")
    for part in path:
        if isinstance(part, str):
            continue
        if not _is_integer(part) or np.ndim(part) != 0:
            raise TypeError(f"{kind}; got {_describe(part)}. Use its name or number.")
        if not is_traced(part) and not 0 <= int(part) < 2**32:
            raise ValueError(f"{kind}; got {int(part)}. Use its name, as a string.")
    return [part if isinstance(part, str) else _as_uint32(part) for part in path]


def check_size(rows: int, lanes: int, max_rows: int, max_lanes: int) -> None:
    """Raises if a mask would need more counters than the stream has.

    A symbolic size, in an exported program, is trusted.
    """
    if not isinstance(rows, int) or not isinstance(lanes, int):
        return
    if rows > max_rows or lanes > max_lanes:
        raise ValueError(
            f"the stream numbers {max_rows} rows of {max_lanes} elements at most; "
            f"got {rows} rows of {lanes}. Split the array and use a key for each part."
        )


def check_mask(mask: Any, words_shape: tuple[int, ...]) -> None:
    """Raises if the words of a mask are not those of its shape."""
    if np.shape(mask.words) != words_shape:
        raise ValueError(
            f"a mask of shape {mask.shape} has words of shape {words_shape}; got "
            f"{np.shape(mask.words)}. Map over a batch of masks with jax.vmap."
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


def _as_uint32(value: Any) -> Any:
    return value.astype(jnp.uint32) if is_traced(value) else np.uint32(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray)


def _is_integer(value: Any) -> bool:
    if _is_array(value):
        return jnp.issubdtype(value.dtype, jnp.integer)
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    if _is_array(value):
        return _is_integer(value) or jnp.issubdtype(value.dtype, jnp.floating)
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool)


def _describe(value: Any) -> str:
    """A short name for a value: its type, and what it holds if that is short."""
    if _is_array(value):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
