"""What each argument must be: the law, the value received, the remedy.

A function `as_...` returns its argument in the one form that the library works with.
What is concrete is checked; what is traced is trusted.
"""

import functools
import inspect
import math
import operator
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, ParamSpec, TypeGuard, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

# A key, or a function that makes one where it is needed, or None where it is not.
Key = jax.Array | Callable[[], jax.Array] | None

P = ParamSpec("P")
R = TypeVar("R")


def is_traced(value: object) -> TypeGuard[jax.Array]:
    """Whether a value is only known when the compiled program runs."""
    return isinstance(value, jax.core.Tracer)


def is_in_jet(*values: object) -> bool:
    """Whether `jax.experimental.jet` traces an array in some pytrees.

    It has rules for few primitives: it takes neither a checkpoint nor a platform's own
    branch, nor a key as an argument of a jit.
    """
    jet = sys.modules.get("jax.experimental.jet")
    if jet is None:
        return False
    tracer = getattr(jet, "JetTracer", ())
    return any(isinstance(leaf, tracer) for leaf in jax.tree.leaves(values))


def is_known(value: Any, constant: float) -> bool:
    """Whether a value is concrete and equals a constant."""
    return not is_traced(value) and bool(value == constant)


def key_first(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a call of other arguments than it takes say how the function is called."""
    parameters = inspect.signature(function).parameters
    required = [n for n, p in parameters.items() if p.default is p.empty]
    usage = f"{function.__name__}({', '.join(required)})"

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        missing = [name for name in required[len(args) :] if name not in kwargs]
        if missing:
            raise TypeError(
                f"{usage} takes the key first, and all of these; got no "
                f"{' and no '.join(missing)}. Make a key with jax.random.key(seed)."
            )
        if len(args) > len(required):
            options = [n for n in parameters if n not in required]
            raise TypeError(
                f"{usage} takes these positional arguments, and all else by name; got "
                f"{len(args)} by position. Pass {options[0]}=..., for one."
            )
        return function(*args, **kwargs)

    return call


# What a rate may lie beyond 0 or 1 and still round to it, to the 32 digits that the
# stream has: Python's floats let a schedule end at -5.6e-17.
_BEYOND = 2**-33


def as_rate(rate: Any) -> np.float32 | jax.Array:
    """Returns `rate` in float32 if it is a number, so that all numbers share a trace.

    Raises unless it is a real scalar which, if concrete, lies in [0, 1] or rounds to an
    end of it.
    """
    kind = "rate is the probability of dropping: one real number in [0, 1]"
    # How a variable of nnx hands out its value.
    value_of = getattr(rate, "__jax_array__", None)
    rate = rate if value_of is None else value_of()
    if not _is_real(rate):
        raise TypeError(f"{kind}; got {_describe(rate)}. Pass a float such as 0.1.")
    if np.ndim(rate) != 0:
        raise ValueError(
            f"{kind}; got an array of shape {np.shape(rate)}. "
            "Use jax.vmap to apply several rates."
        )
    if is_traced(rate):
        return rate
    # An integer may be too large for a float, and is compared as it is.
    number = rate if isinstance(rate, int) else float(rate)
    if not -_BEYOND <= number <= 1 + _BEYOND:
        raise ValueError(
            f"{kind}; got {_shorten(str(number))}. "
            "0 keeps everything, 1 drops everything."
        )
    # Through a float, a long double would be rounded twice.
    return np.float32(np.asarray(rate).astype(np.float32))


def as_deterministic(deterministic: Any) -> bool | jax.Array:
    """Returns `deterministic`, as a bool if it is concrete; raises unless it is one.

    A concrete 0 or 1 of any type is one, as in Flax.
    """
    is_scalar = (_is_bool(deterministic) or _is_real(deterministic)) and (
        np.ndim(deterministic) == 0
    )
    if is_scalar and is_traced(deterministic):
        if _is_bool(deterministic):
            return deterministic
    # NumPy compares it: within a jit, JAX would trace that.
    elif is_scalar and np.asarray(deterministic) in (0, 1):
        return bool(deterministic)
    raise TypeError(
        "deterministic is one bool, or a concrete 0 or 1: True returns x, False drops; "
        f"got {_describe(deterministic)}. Pass deterministic=not training."
    )


def as_input(name: str, x: Any, *, complex_ok: bool) -> jax.Array:
    """Returns `x` as an array; raises unless it holds floating-point numbers."""
    if not isinstance(x, jax.Array):
        try:
            x = jnp.asarray(x)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} takes one array x of numbers; got {_describe(x)}. Call it "
                "once for each array of a structure, with a key for each."
            ) from None
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{name} takes the key first, then x; got a key where x belongs. "
            f"Call {name}(key, x, ...)."
        )
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        if complex_ok:
            return x
        raise TypeError(
            f"{name} is defined for real x; got dtype {x.dtype}. "
            "Apply it to the real and the imaginary part."
        )
    remedy = "Cast it first: x.astype(jnp.float32)."
    if x.dtype == np.uint32:
        remedy += f" If it is a legacy key, it comes first: {name}(key, x, ...)."
    raise TypeError(
        f"{name} scales what it keeps, so x must be floating-point; got dtype "
        f"{x.dtype}. {remedy}"
    )


def as_key(key: object) -> jax.Array:
    """Returns `key` as an array; raises unless it is one key, typed or legacy."""
    remedy = "Make a key with jax.random.key(seed)"
    if key is None:
        raise TypeError(
            "a random key is needed unless rate is 0 or 1 or deterministic is True; "
            f"got None. {remedy} and pass it first, or pass deterministic=True."
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
            "key must be a jax.random key, typed or of 1, 2 or 4 uint32 words, and "
            f"comes first; got {_describe(key)}. {remedy}."
        )
    if batch:
        raise ValueError(
            f"key must be a single key; got a batch of keys of shape {batch}. "
            "Map over a batch with jax.vmap."
        )
    return key if isinstance(key, jax.Array) else jnp.asarray(key)


def as_dims(dims: Any) -> tuple[int, ...]:
    """Returns `broadcast_dims` as a tuple; raises unless it holds integers."""
    is_collection = isinstance(dims, Collection) and not isinstance(dims, str)
    if _is_array(dims):
        is_collection = np.ndim(dims) == 1
    if not is_collection or not all(_is_one_integer(dim) for dim in dims):
        remedy = f"({dims},)" if _is_one_integer(dims) else "(0, 1)"
        raise TypeError(
            "broadcast_dims holds integers, the axes that share a mask; got "
            f"{_describe(dims)}. Pass a tuple such as {remedy}."
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
    if not _is_integer(axis) or np.ndim(axis) != 0:
        raise TypeError(f"{name} is one axis of x, an integer; got {_describe(axis)}.")
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        raise ValueError(
            f"{name} must be an axis of x, which has {ndim} dimensions; got {index}. "
            f"Axes run from {-ndim} to {ndim - 1}."
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


def as_number(
    name: str, number: object, least: float, most: float = math.inf
) -> np.float32 | jax.Array:
    """Returns a number in float32 if it is concrete.

    Raises unless it is a real scalar which, if concrete, is finite and in a range.
    """
    kind = f"{name} is one real number in [{least}, {most}]"
    kind = kind.replace("inf]", "inf)").replace("[-inf", "(-inf")
    if not _is_real(number):
        raise TypeError(f"{kind}; got {_describe(number)}.")
    if np.ndim(number) != 0:
        raise ValueError(f"{kind}; got an array of shape {np.shape(number)}.")
    if is_traced(number):
        return number
    if not (least <= number <= most and math.isfinite(number)):
        raise ValueError(f"{kind}; got {_shorten(str(number))}.")
    return np.float32(number)


def as_choice(name: str, choice: object, choices: Sequence[str]) -> str:
    """Returns a word that says how; raises unless it is one of those there are."""
    if isinstance(choice, str) and choice in choices:
        return choice
    one_of = " or ".join(repr(word) for word in choices)
    raise ValueError(f"{name} is {one_of}; got {_shorten(repr(choice))}.")


def as_count(name: str, count: Any, least: int = 1) -> int:
    """Returns a number of things as an int; raises unless it is one, and enough."""
    if not _is_integer(count) or np.ndim(count) != 0 or is_traced(count):
        raise TypeError(f"{name} is a static integer; got {_describe(count)}.")
    if operator.index(count) < least:
        raise ValueError(f"{name} is {least} or more; got {_shorten(str(count))}.")
    return operator.index(count)


def as_offset(offset: Any, shape: tuple[int, ...]) -> tuple[np.uint32 | jax.Array, ...]:
    """Returns `offset` as the indices of leading axes, in uint32: one, or none.

    Raises unless axis 0 can be counted from there.
    """
    kind = "offset is the index of the first example along axis 0"
    if isinstance(offset, tuple | list):
        raise TypeError(
            f"{kind}, one integer; got {_describe(offset)}. To begin along several "
            "axes, pass the shape of the larger array as well: within=shape."
        )
    index = _as_index(kind, offset)
    if shape:
        return (index,)
    if not is_traced(index) and int(index):
        raise ValueError(
            f"{kind}, and a scalar has no axis; got {_describe(offset)}. Pass no "
            "offset, or reshape x to one axis."
        )
    return ()


def as_window(
    offset: Any, shape: tuple[int, ...], within: Any
) -> tuple[tuple[np.uint32 | jax.Array, ...], tuple[int, ...]]:
    """Returns one index an axis, and `within`; raises unless the window fits in it."""
    whole = as_shape(within)
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
    if not _is_integer(index):
        raise TypeError(f"{kind}, an integer; got {_describe(index)}.")
    if np.ndim(index) != 0:
        raise ValueError(
            f"{kind}, one integer; got an array of shape {np.shape(index)}. "
            "Use jax.vmap for several."
        )
    if not is_traced(index) and not 0 <= int(index) < 2**32:
        raise ValueError(
            f"{kind}: it lies in [0, 2^32); got {_shorten(str(int(index)))}."
        )
    return _as_uint32(index)


def as_shape(shape: Any) -> tuple[int, ...]:
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


def as_path(path: tuple[Any, ...]) -> list[bytes | np.uint32 | jax.Array]:
    """Returns the parts of a path: its strings in UTF-8, its integers in uint32."""
    if not path:
        raise ValueError(f"{_PATH}; got none. Name the layer: key_for(key, 'layer').")
    return [_as_part(part) for part in path]


_PATH = "a path holds strings and integers in [0, 2^32), at least one"


def _as_part(part: Any) -> bytes | np.uint32 | jax.Array:
    if isinstance(part, str):
        try:
            return part.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{_PATH}, and its strings are hashed as UTF-8; got {ascii(part)}, "
                "which has no such form. Take out its lone surrogates."
            ) from None
    if not _is_one_integer(part):
        raise TypeError(f"{_PATH}; got {_describe(part)}. Use its name or number.")
    if not is_traced(part) and not 0 <= int(part) < 2**32:
        raise ValueError(
            f"{_PATH}; got {_shorten(str(int(part)))}. Use its name, as a string."
        )
    return _as_uint32(part)


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
            f"{_shorten(str(first))} and {_shorten(str(others))}. Split the array and "
            "use a key for each part."
        )


def refuse_masks(mask: object, x: object) -> NoReturn:
    """Raises for the arguments of `apply_mask` if they are not a mask and an array."""
    if _is_array(mask) and _is_bool(mask):
        remedy = "To apply a bool array, write jnp.where(mask, x / keep, 0)."
    else:
        remedy = "Sample a Mask with sample_mask(key, x.shape, rate)."
    raise TypeError(
        "apply_mask(mask, x) takes a Mask first, then the array x; got "
        f"{_describe(mask)} and {_describe(x)}. {remedy}"
    )


def check_mask(mask: Any, words_shape: tuple[int, ...]) -> None:
    """Raises if the words of a mask are not those of its shape."""
    if np.shape(mask.words) != words_shape:
        raise ValueError(
            f"a mask of shape {mask.shape} has words of shape {words_shape}; got "
            f"{np.shape(mask.words)}. Map over a batch of masks with jax.vmap."
        )


def check_same(name: str, x: Any, previous: Any) -> None:
    """Raises unless two states are of one shape and one dtype."""
    shapes = np.shape(x), np.shape(previous)
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{name} chooses between two states of one shape; got x of shape "
            f"{shapes[0]} and previous of shape {shapes[1]}."
        )
    dtypes = jnp.result_type(x), jnp.result_type(previous)
    if dtypes[0] != dtypes[1]:
        raise TypeError(
            f"{name} chooses between two states of one dtype; got x of dtype "
            f"{dtypes[0]} and previous of dtype {dtypes[1]}. Cast one of them first."
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


def _as_uint32(value: Any) -> np.uint32 | jax.Array:
    return value.astype(jnp.uint32) if is_traced(value) else np.uint32(value)


def _is_array(value: object) -> TypeGuard[jax.Array | np.ndarray | np.generic]:
    """Whether a value has a dtype: an array, or a NumPy scalar of any dtype."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def _is_integer(value: object) -> bool:
    if _is_array(value):
        return jnp.issubdtype(value.dtype, jnp.integer)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_one_integer(value: Any) -> bool:
    return _is_integer(value) and np.ndim(value) == 0


def _is_bool(value: object) -> bool:
    return value.dtype == bool if _is_array(value) else isinstance(value, bool)


def _is_real(value: Any) -> TypeGuard[Any]:
    if _is_array(value) and jnp.issubdtype(value.dtype, jnp.floating):
        return True
    return _is_integer(value) or isinstance(value, float)


def _describe(value: object) -> str:
    """A short name for a value: its type, and what it holds if that is short."""
    if isinstance(value, jax.Array | np.ndarray):
        known = "a traced" if is_traced(value) else "an"
        # The dtype of a key is not NumPy's.
        if known == "an" and value.ndim == 0 and isinstance(value.dtype, np.dtype):
            return _shorten(repr(value))
        return f"{known} array of dtype {value.dtype} and shape {value.shape}"
    return f"{type(value).__name__} {_shorten(repr(value))}"


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."
