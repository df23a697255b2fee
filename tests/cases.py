"""The table of cases that the contract, law, sharding and golden tests iterate.

A new op is one new row. An oracle is the op's equation in NumPy float64: it takes a
mask, never a key.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

import jdrop

KEY_IMPLEMENTATIONS = (
    "threefry2x32",
    "threefry4x32",
    "philox2x32",
    "philox4x32",
    "rbg",
    "unsafe_rbg",
)
RATES = (0.5, 0.25, 0.1, 1 / 3, 0.9, 1e-4, 1 - 1e-4)


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


def realised(rate: float) -> float:
    """The rate as the stream rounds it, in exact arithmetic."""
    rate = float(np.float32(rate))
    digits = 16 if 2**-8 <= rate <= 1 - 2**-8 else 32
    return round(rate * 2**digits) / 2**digits
