"""What a probe may ask of a library; an adapter answers, or says that it cannot."""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class NotOffered(Exception):
    """The library has no way to ask for this; the text says what is missing."""


class Peer:
    """A library, called in its own usual way.

    Arrays are NumPy's where the library is not built on JAX. What an adapter does not
    override is not offered.

    Attributes:
      name: Heading of the column.
      package: Distribution whose version is printed.
      call: The public function or class that is called.
      stateful: Whether it draws from a state of its own where no key is passed.
    """

    name = ""
    package = ""
    call = ""
    stateful = False

    @property
    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version(self.package)

    def array(self, x: Any) -> Any:
        """The kind of array that `drop` takes."""
        return np.asarray(x)

    def key(self, seed: int) -> Any:
        """What the library takes as the source of one mask."""
        return seed

    def jax_key(self, seed: int, implementation: str = "threefry2x32") -> jax.Array:
        """A key of `jax.random`, where the library takes one."""
        raise NotOffered("no jax keys")

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """Dropout of x in training mode.

        Args:
          key: What `key` or `jax_key` returned, or None for no key at all.
          x: The input.
          rate: Probability of dropping.
          **options: `deterministic`, `broadcast_dims` or `offset`, under these names.

        Returns:
          The output.
        """
        raise NotOffered("no dropout")

    def slope(self, key: Any, x: Any, rate: Any) -> Any:
        """The gradient of the sum of the output with respect to x."""
        raise NotOffered("no gradient")

    def rate_slope(self, key: Any, x: Any, rate: float) -> Any:
        """The derivative of the sum of the output with respect to the rate."""
        raise NotOffered("rate is a number")

    def traced_rate(self, key: Any, x: Any, rate: Any) -> Any:
        """Dropout whose rate is an argument of the compiled function."""
        raise NotOffered("rate is a number")

    def traced_rate_slope(self, key: Any, x: Any, rate: float) -> Any:
        """The gradient of `traced_rate`, summed, with respect to x."""
        raise NotOffered("rate is a number")

    def by_position(self, key: Any, x: Any) -> Any:
        """Dropout with `True` as the next argument by position, a mode to a reader."""
        raise NotOffered("no flag")

    def params_key(self, key: Any, x: Any) -> Any:
        """Dropout where the only key is that of the parameters."""
        raise NotOffered("no collections")

    def transformable(self, key: Any, rate: float) -> Callable[[Any], Any]:
        """A function of x that `jax.jit` and its relatives can take."""
        raise NotOffered("not JAX")

    def closed_over(self) -> Callable[[Any], Any]:
        """A function of x that holds the library's own state, made outside."""
        raise NotOffered("not JAX")

    def residual_bits(self, x: Any, rate: float) -> dict[str, float]:
        """Bits per element that the forward pass keeps, by how it was run."""
        raise NotOffered("not counted")

    def random_bits(self, x: Any, rate: float) -> float:
        """Bits per element that the generator computes."""
        raise NotOffered("not counted")

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """Alpha dropout."""
        raise NotOffered("not offered")

    def alpha_slope(self, key: Any, x: Any, rate: float) -> Any:
        """The gradient of the sum of alpha dropout with respect to x."""
        raise NotOffered("not offered")

    def gaussian(self, key: Any, x: Any, rate: float) -> Any:
        """Gaussian dropout."""
        raise NotOffered("not offered")

    def drop_block(self, key: Any, x: np.ndarray, rate: float, size: int) -> Any:
        """Drop block of an array of shape (batch, height, width, channels)."""
        raise NotOffered("not offered")


def load(module: str) -> Any:
    """Imports a library by name, whether or not it has types."""
    return importlib.import_module(module)
