"""The table of ops, and what else all tests share: keys of every kind, rates, one x.

A new op is one new row. An oracle is the op's equation in NumPy float64: it takes a
mask, never a key.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import jdrop

KEY_IMPLEMENTATIONS = (
    "threefry2x32",
    "threefry4x32",
    "philox2x32",
    "philox4x32",
    "rbg",
    "unsafe_rbg",
)
WORDS_IN_KEY = {
    "threefry2x32": 2,
    "threefry4x32": 4,
    "philox2x32": 1,
    "philox4x32": 2,
    "rbg": 4,
    "unsafe_rbg": 4,
    "legacy of 1": 1,
    "legacy of 2": 2,
    "legacy of 4": 4,
}
RATES = (0.5, 0.25, 0.1, 1 / 3, 0.9, 1e-4, 1 - 1e-4)

# The generator of this kind draws other numbers under vmap and in sharded programs.
KEY = jax.random.key(4, impl="rbg")
SHAPE, RATE = (8, 3, 20), 0.3
X = jax.random.normal(jax.random.key(2), SHAPE) + 3


@dataclasses.dataclass(frozen=True)
class Case:
    """One op.

    Attributes:
      op: `op(key, x, rate, *, deterministic, broadcast_dims, offset)`.
      oracle: `oracle(mask, x, rate)`, with a bool mask and the realised rate.
      complex_ok: Whether the law makes sense for complex x.
    """

    op: Callable[..., jax.Array]
    oracle: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    complex_ok: bool

    @property
    def name(self) -> str:
        """What the op is called, which is its name in every message."""
        return self.op.__name__

    @property
    def module(self) -> str:
        """What its module is called, in jdrop.linen and in jdrop.nnx."""
        return self.name.title().replace("_", "")


def _dropout(mask: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    return np.where(mask, x / (1 - rate), 0)


def _alpha_dropout(mask: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    saturation = -1.7580993408473766
    a = ((1 - rate) * (1 + rate * saturation**2)) ** -0.5
    return a * np.where(mask, x, saturation) - a * rate * saturation


CASES = (
    Case(jdrop.dropout, _dropout, complex_ok=True),
    Case(jdrop.alpha_dropout, _alpha_dropout, complex_ok=False),
)
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def realised(rate: float) -> float:
    """The rate as the stream rounds it, in exact arithmetic."""
    return float(oracle.threshold(rate)[0])


def make_key(kind: str, words: Sequence[int]) -> jax.Array:
    """The key of these words: typed if `kind` is an implementation, else legacy."""
    data = jnp.array(words, jnp.uint32)
    if kind in KEY_IMPLEMENTATIONS:
        return jax.random.wrap_key_data(data, impl=kind)
    return data


def key_words(key: jax.Array) -> list[int]:
    """The words of one key, typed or legacy."""
    return (jax.random.key_data(key) if is_typed(key) else key).tolist()


def is_typed(key: jax.Array) -> bool:
    """Whether JAX knows the array to be a key."""
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


@functools.cache
def kept(
    words: tuple[int, ...] = (0, 4, 0, 4),
    shape: tuple[int, ...] = SHAPE,
    rate: float = RATE,
) -> np.ndarray:
    """What the oracle keeps under the key of these words; by default, `KEY`."""
    return oracle.mask(words, shape, rate)


def assert_equation(case: Case, y, x, rate=RATE, mask=None, slope=None) -> None:
    """Checks an output, and its slope, against the equation in float64.

    The tolerance is that of a multiply and an add, which a compiler may fuse.
    """
    mask = kept(shape=np.shape(x), rate=rate) if mask is None else mask
    x, p = np.asarray(x, np.float64), realised(rate)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    close(y, case.oracle(mask, x, p))
    if slope is not None:
        # Every law is affine in x.
        close(slope, case.oracle(mask, x + 1, p) - case.oracle(mask, x, p))
        np.testing.assert_array_equal(np.asarray(slope) != 0, mask)
