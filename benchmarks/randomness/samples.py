"""Masks of many keys at one rate, as the laws want them: the data of the evidence."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import jdrop
from benchmarks.randomness.controls import Draw
from benchmarks.randomness.packed import Words


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is drawn at each rate.

    Attributes:
      keys: Number of keys of large masks.
      shape: Shape of a large mask.
      small_keys: Number of keys of small masks, for each way to derive keys.
      small_shape: Shape of a small mask.
      flipped_keys: Number of keys of which every bit is flipped.
    """

    keys: int
    shape: tuple[int, int]
    small_keys: int
    small_shape: tuple[int, int]
    flipped_keys: int


SEEDS = 2**20
"""How many seeds belong to each `seed` below: no two share a key."""

FULL = Sizes(1024, (64, 4096), 2**15, (8, 128), 4096)
SHORT = Sizes(128, (32, 512), 2**11, (4, 64), 64)


@dataclasses.dataclass(frozen=True)
class Masks:
    """Masks at one rate; a 1 bit is the rarer of dropped and kept.

    Attributes:
      draw: What draws them.
      rate: The requested rate.
    """

    draw: Draw
    rate: float

    @functools.cached_property
    def realised(self) -> float:
        """The rate that the library says it realises."""
        return float(jdrop.sample_mask(jax.random.key(0), (1,), self.rate).rate)

    @property
    def p(self) -> float:
        """The probability of a 1."""
        return min(self.realised, 1 - self.realised)

    def sample(self, keys: jax.Array, shape: tuple[int, int], offset: int = 0) -> Words:
        """The packed words of a mask for each key."""
        draw = _draw_many(self.draw, shape)
        kept = np.asarray(draw(keys, np.float32(self.rate), np.uint32(offset)))
        return kept if self.realised > 0.5 else ~kept


@functools.cache
def _draw_many(draw: Draw, shape: tuple[int, int]) -> Callable[..., jax.Array]:
    """Compiled once for all rates and offsets."""

    def draw_one(key: jax.Array, rate: jax.Array, offset: jax.Array) -> jax.Array:
        return draw(key, shape, rate, offset)

    return jax.jit(jax.vmap(draw_one, in_axes=(0, None, None)))


def consecutive_seeds(seed: int, number: int) -> jax.Array:
    """Keys of seeds that follow each other."""
    first = jnp.uint32(seed * SEEDS)
    return jax.vmap(jax.random.key)(first + jnp.arange(number, dtype=jnp.uint32))


def consecutive_folds(seed: int, number: int) -> jax.Array:
    """Keys of one key and numbers that follow each other, as a training loop has."""
    base = jax.random.key((seed + 1) * SEEDS - 1)
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return fold_in(base, jnp.arange(number, dtype=jnp.uint32))


def siblings(seed: int, number: int) -> jax.Array:
    """Keys of one split, of another key: JAX may split as it folds in."""
    return jax.random.split(jax.random.key((seed + 1) * SEEDS - 2), number)


FAMILIES = {
    "seeds": consecutive_seeds,
    "fold_in": consecutive_folds,
    "split": siblings,
}
"""Ways to derive many keys, each from a seed and a number of keys."""


def flipped(keys: jax.Array) -> jax.Array:
    """Every key with one of its 64 bits flipped: shape (64, number of keys)."""
    low = np.uint32(1) << np.arange(32, dtype=np.uint32)
    zero = np.zeros_like(low)
    bits = np.concatenate([np.stack([low, zero], -1), np.stack([zero, low], -1)])
    return jax.random.wrap_key_data(jax.random.key_data(keys)[None] ^ bits[:, None])
