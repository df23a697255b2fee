"""What an argument must be: the law, the value received, the remedy.

A function `as_...` returns its argument in the one form that the library works with.
What is concrete is checked; what is traced is trusted.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

# A key, or a function that makes one where it is needed, or None where it is not.
Key = jax.Array | Callable[[], jax.Array] | None


def is_traced(value: object) -> TypeGuard[jax.Array]:
    """Whether a value is only known when the compiled program runs."""
    return isinstance(value, jax.core.Tracer)


def is_known(value: Any, constant: float) -> bool:
    """Whether a value is concrete and equals a constant."""
    return not is_traced(value) and bool(value == constant)


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
        remedy = "Pass a float such as 0.1."
        if callable(rate):
            remedy = "Of a schedule, pass what it returns: rate(step)."
        elif is_array(rate) and jnp.issubdtype(rate.dtype, jax.dtypes.prng_key):
            remedy = "The key comes first, the rate last."
        raise TypeError(f"{kind}; got {describe(rate)}. {remedy}")
    if np.ndim(rate) != 0:
        raise ValueError(
            f"{kind}; got an array of shape {np.shape(rate)}. An array to drop from "
            "comes before its rate; use jax.vmap to apply several rates."
        )
    if is_traced(rate):
        return rate
    # An integer may be too large for a float, and is compared as it is.
    number = rate if isinstance(rate, int) else float(rate)
    if not -_BEYOND <= number <= 1 + _BEYOND:
        raise ValueError(
            f"{kind}; got {shorten(str(number))}. "
            "0 keeps everything, 1 drops everything; 50 % is 0.5."
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
        f"got {describe(deterministic)}. Pass deterministic=not training."
    )


def as_array(name: str, x: Any) -> jax.Array:
    """Returns `x` as an array; raises unless it is one of numbers, or makes one."""
    if isinstance(x, jax.Array):
        return x
    try:
        return jnp.asarray(x)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} takes one array x of numbers; got {describe(x)}. Call it once for "
            "each array of a structure, with a key for each."
        ) from None


def as_input(name: str, x: Any, *, complex_ok: bool) -> jax.Array:
    """Returns `x` as an array; raises unless it holds floating-point numbers."""
    x = as_array(name, x)
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
        f"{name} returns the dtype of x, which must be floating-point; got dtype "
        f"{x.dtype}. {remedy}"
    )


def as_key(key: object) -> jax.Array:
    """Returns `key` as an array; raises unless it is one key, typed or legacy."""
    remedy = "Make a key with jax.random.key(seed)"
    if key is None:
        raise TypeError(
            f"a random key is needed to draw a mask; got None. {remedy} and pass it "
            "first; for evaluation, pass deterministic=True."
        )
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"key must be a jax.random key; got {describe(key)}. {remedy}.")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        batch = key.shape
    elif key.dtype == np.uint32 and key.ndim > 0 and key.shape[-1] in (1, 2, 4):
        batch = key.shape[:-1]
    else:
        raise TypeError(
            "key must be a jax.random key, typed or of 1, 2 or 4 uint32 words, and "
            f"comes first; got {describe(key)}. {remedy}."
        )
    if batch:
        raise ValueError(
            f"key must be a single key; got a batch of keys of shape {batch}. "
            "Map over a batch with jax.vmap."
        )
    return key if isinstance(key, jax.Array) else jnp.asarray(key)


def as_number(name: str, number: object, least: float) -> np.float32 | jax.Array:
    """Returns a number in float32 if it is concrete.

    Raises unless it is a real scalar which, if concrete, is finite and large enough.
    """
    kind = f"{name} is one real number in [{least:.2g}, inf)".replace("[-", "(-")
    if not _is_real(number):
        raise TypeError(f"{kind}; got {describe(number)}. Pass a float such as 1.0.")
    if np.ndim(number) != 0:
        raise ValueError(
            f"{kind}; got an array of shape {np.shape(number)}. Use jax.vmap for "
            "several."
        )
    if is_traced(number):
        return number
    if not (least <= number and math.isfinite(number)):
        raise ValueError(f"{kind}; got {shorten(str(number))}.")
    return np.float32(number)


def as_choice(name: str, choice: object, choices: Sequence[str]) -> str:
    """Returns a word that says how; raises unless it is one of those there are."""
    if isinstance(choice, str) and choice in choices:
        return choice
    one_of = " or ".join(repr(word) for word in choices)
    raise ValueError(f"{name} is {one_of}; got {shorten(repr(choice))}.")


def as_flag(name: str, flag: Any) -> bool:
    """Returns what is either so or not; raises unless it is a concrete bool."""
    if is_traced(flag) or not _is_bool(flag) or np.ndim(flag) != 0:
        raise TypeError(f"{name} is True or False; got {describe(flag)}.")
    return bool(flag)


def as_count(name: str, count: Any, least: int = 1) -> int:
    """Returns a number of things as an int; raises unless it is one, and enough."""
    if not is_integer(count) or np.ndim(count) != 0 or is_traced(count):
        raise TypeError(
            f"{name} is a static integer; got {describe(count)}. Pass a Python int, "
            "which jax.jit takes by static_argnames."
        )
    if operator.index(count) < least:
        raise ValueError(f"{name} is {least} or more; got {shorten(str(count))}.")
    return operator.index(count)


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
    if not is_one_integer(part):
        raise TypeError(f"{_PATH}; got {describe(part)}. Use its name or number.")
    if not is_traced(part) and not 0 <= int(part) < 2**32:
        raise ValueError(
            f"{_PATH}; got {shorten(str(int(part)))}. Use its name, as a string."
        )
    return as_uint32(part)


def refuse_masks(mask: object, x: object) -> NoReturn:
    """Raises for the arguments of `apply_mask` if they are not a mask and an array."""
    if is_array(mask) and _is_bool(mask):
        remedy = "To apply a bool array, write jnp.where(mask, x / keep, 0)."
    else:
        remedy = "Sample a Mask with sample_mask(key, x.shape, rate)."
    raise TypeError(
        "apply_mask(mask, x) takes a Mask first, then the array x; got "
        f"{describe(mask)} and {describe(x)}. {remedy}"
    )


def check_mask(mask: Any, words_shape: tuple[int, ...]) -> None:
    """Raises if the words of a mask are not those of its shape."""
    if np.shape(mask.words) != words_shape:
        raise ValueError(
            f"a mask of shape {mask.shape} has words of shape {words_shape}; got "
            f"{np.shape(mask.words)}. Map over a batch of masks with jax.vmap."
        )


def as_uint32(value: Any) -> np.uint32 | jax.Array:
    return value.astype(jnp.uint32) if is_traced(value) else np.uint32(value)


def is_array(value: object) -> TypeGuard[jax.Array | np.ndarray | np.generic]:
    """Whether a value has a dtype: an array, or a NumPy scalar of any dtype."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def is_integer(value: object) -> bool:
    if is_array(value):
        return jnp.issubdtype(value.dtype, jnp.integer)
    return isinstance(value, int) and not isinstance(value, bool)


def is_one_integer(value: Any) -> bool:
    return is_integer(value) and np.ndim(value) == 0


def _is_bool(value: object) -> bool:
    return value.dtype == bool if is_array(value) else isinstance(value, bool)


def _is_real(value: Any) -> TypeGuard[Any]:
    if is_array(value) and jnp.issubdtype(value.dtype, jnp.floating):
        return True
    return is_integer(value) or isinstance(value, float)


def describe(value: object) -> str:
    """A short name for a value: its type, and what it holds if that is short."""
    if isinstance(value, jax.Array | np.ndarray):
        known = "a traced" if is_traced(value) else "an"
        # The dtype of a key is not NumPy's.
        if known == "an" and value.ndim == 0 and isinstance(value.dtype, np.dtype):
            return shorten(repr(value))
        return f"{known} array of dtype {value.dtype} and shape {value.shape}"
    return f"{type(value).__name__} {shorten(repr(value))}"


def shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."
