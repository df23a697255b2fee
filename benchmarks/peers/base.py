"""What may be asked of a library; an adapter answers, or says that it cannot."""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class NotOffered(Exception):
    """The library has no way to ask for this; the text says what is missing."""


class Peer:
    """A library, called in its own usual way, on arrays of its own.

    What an adapter does not override is not offered.

    Attributes:
      name: Short name of the library, a key of `PEERS`.
      package: Distribution whose version is recorded.
      module: What is imported as `library`, if that is not the name.
      call: The public function or class that is called.
      stateful: Whether it draws from a state of its own where no key is passed.
    """

    name = ""
    package = ""
    module = ""
    call = ""
    stateful = False

    def __init__(self) -> None:
        """Imports the library."""
        self.library: Any = importlib.import_module(self.module or self.name)

    @property
    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version(self.package)

    def array(self, x: Any) -> Any:
        """The library's own kind of array, made of NumPy's."""
        return np.asarray(x)

    def read(self, y: Any) -> np.ndarray:
        """NumPy's array, made of the library's own."""
        return np.asarray(y)

    def key(self, seed: int) -> Any:
        """What the library takes as the source of one mask."""
        return seed

    def jax_key(self, seed: int, implementation: str = "threefry2x32") -> jax.Array:
        """A key of `jax.random`, where the library takes one."""
        raise NotOffered("no jax keys")

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """Dropout of x in training mode.

        Args:
          key: What `key` or `jax_key` returned, or None for no key at all.
          x: The input, made by `array`.
          rate: Probability of dropping.
          *mode: What a reader may put behind the other arguments, by position.
          **options: `deterministic`, `broadcast_dims`, `offset`, or the `collection` of
            Flax that has the key, under these names.

        Returns:
          The output.
        """
        raise NotOffered("no dropout")

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """Alpha dropout."""
        raise NotOffered("not offered")

    def feature_alpha(self, key: Any, x: Any, rate: float) -> Any:
        """Alpha dropout of the channels of (batch, channels, height, width)."""
        raise NotOffered("not offered")

    def gaussian(self, key: Any, x: Any, rate: float) -> Any:
        """Gaussian dropout."""
        raise NotOffered("not offered")

    def drop_block(self, key: Any, x: Any, rate: float, size: int) -> Any:
        """Drop block of an array of shape (batch, channels, height, width)."""
        raise NotOffered("not offered")

    def drop_path(self, key: Any, x: Any, rate: float) -> Any:
        """Stochastic depth, by example."""
        raise NotOffered("not offered")

    def compile(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A compiled function of a rate that is traced."""
        raise NotOffered("rate is a number")

    def slope(self, function: Callable[[Any], Any], at: Any) -> Any:
        """The gradient of the sum of a function's output."""
        raise NotOffered("no gradient")

    def transformable(self, key: Any, rate: float) -> Callable[[Any], Any]:
        """Dropout as a function of x that `jax.jit` and its relatives can take."""
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


def only(options: dict[str, Any], *names: str) -> None:
    """Refuses the options that a library does not have."""
    for name in options.keys() - set(names):
        words = {"deterministic": "no flag", "collection": "no collections"}
        raise NotOffered(words.get(name, "no option"))


def noise_shape(x: Any, shared: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a mask, for a library that takes that instead of axes."""
    if any(axis >= len(x.shape) for axis in shared):
        raise NotOffered("takes a shape, not axes")
    sizes = tuple(1 if axis in shared else n for axis, n in enumerate(x.shape))
    return sizes if shared else None
