"""The dropouts of JAX's libraries behind one signature, each as its users call it."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import jax

import jdrop


class Drop(Protocol):
    """A dropout: the key it is called with, x, the rate, and axes that share a bit."""

    def __call__(
        self, key: jax.Array, x: jax.Array, rate: float, dims: tuple[int, ...]
    ) -> jax.Array:
        """Drops units of x."""


FLOOR = "x * c"
NOTHING = "no dropout"
KEY_IMPLEMENTATIONS = ("threefry2x32", "rbg", "philox4x32")
# A name is a library and the kind of its key, so that "flax" is in several.
JDROP = "jdrop, threefry2x32"
FLAX = "flax.linen, threefry2x32"
# Flax with its default keys, and with those that are quickest on a CPU.
SHORT_LIST = (JDROP, FLAX, "flax.linen, philox4x32")


@dataclass(frozen=True)
class Contestant:
    """A dropout of JAX arrays.

    Attributes:
      name: The library and the key's implementation.
      library: The library's name.
      key: The key it is called with.
      drop: The dropout.
      shares: Whether it can share a bit along `broadcast_dims`.
    """

    name: str
    library: str
    key: jax.Array
    drop: Drop
    shares: bool = True


def gather(without: Iterable[str] = ()) -> list[Contestant]:
    """Every library that is installed, with every implementation of keys.

    Args:
      without: Libraries to leave out.

    Returns:
      The contestants, jdrop's first.
    """
    return [
        Contestant(f"{library}, {implementation}", library, key, drop, shares)
        for library, (drop, shares) in _libraries(set(without)).items()
        for implementation, key in keys().items()
    ]


def absent(without: Iterable[str] = ()) -> list[str]:
    """Libraries that are left out: not installed, or not wanted."""
    present = _libraries(set(without))
    missing = [name for name in _LOADERS if name not in present]
    if "torch" in without or not installed("torch"):
        missing.append("torch")
    return missing


def keys() -> dict[str, jax.Array]:
    """A key of each implementation that this version of JAX has."""
    found = {}
    for implementation in KEY_IMPLEMENTATIONS:
        try:
            found[implementation] = jax.random.key(1, impl=implementation)
        except ValueError:
            continue
    return found


def installed(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return True


def names() -> list[str]:
    """The libraries that can be left out."""
    return [*_LOADERS, "torch"]


def _libraries(without: set[str]) -> dict[str, tuple[Drop, bool]]:
    found: dict[str, tuple[Drop, bool]] = {"jdrop": (_jdrop, True)}
    for library, (module, load, shares) in _LOADERS.items():
        if library not in without and installed(module):
            found[library] = (load(), shares)
    return found


def _jdrop(
    key: jax.Array, x: jax.Array, rate: float, dims: tuple[int, ...]
) -> jax.Array:
    return jdrop.dropout(key, x, rate, broadcast_dims=dims)


def _load_linen() -> Drop:
    import flax.linen as nn

    def drop(key: Any, x: Any, rate: Any, dims: Any) -> Any:
        module = nn.Dropout(rate, dims, deterministic=False)
        return module.apply({}, x, rngs={"dropout": key})

    return drop


def _load_nnx() -> Drop:
    from flax import nnx

    def drop(key: Any, x: Any, rate: Any, dims: Any) -> Any:
        return nnx.Dropout(rate, broadcast_dims=dims)(x, rngs=key)

    return drop


def _load_equinox() -> Drop:
    import equinox

    def drop(key: Any, x: Any, rate: Any, dims: Any) -> Any:
        return equinox.nn.Dropout(rate)(x, key=key)

    return drop


def _load_haiku() -> Drop:
    import haiku

    def drop(key: Any, x: Any, rate: Any, dims: Any) -> Any:
        return haiku.dropout(key, rate, x, dims)

    return drop


# By library: the module to look for, its loader, and whether it has broadcast_dims.
_LOADERS: dict[str, tuple[str, Callable[[], Drop], bool]] = {
    "flax.linen": ("flax", _load_linen, True),
    "flax.nnx": ("flax", _load_nnx, True),
    "equinox": ("equinox", _load_equinox, False),
    "haiku": ("haiku", _load_haiku, True),
}
