"""The bit stream: which bit an element owns, given a key, a shape and a rate.

This file is what the golden vectors pin: cipher, seed, rate and layout. In words,
`docs/stream.md` says the same, in enough detail to write it again without reading the
code. How the words are computed may change with every release, and stands in `_draw`.

Thirty-two neighbouring elements share one uint32 word, and each of them owns one bit
lane of it. An element is dropped where its uniform binary fraction U lies below the
realised rate. The digits of U come in pairs: one block of the cipher holds two of them
for each lane of a word.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop._arguments import is_traced

STREAM = "jdrop-1-dev"
"""The name of the stream that this version draws. A mask belongs to a stream."""

LANES = 32
"""Elements that share a word."""

PAIRS = 16
"""Digit pairs that a word owns: its counters are `word * PAIRS + pair`."""

MAX_ROWS = 2**32 - 1
MAX_LANES = 2**32 // PAIRS * LANES

# Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2 and
# section 4.2: the rotations of threefry2x32 and the constant of its key schedule.
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA

ROUNDS = 20
"""Rounds of the cipher: what its authors recommend."""

# ASCII "jdro" and "p", "k": what a user's key is absorbed into, for packed words and
# for keys by name, so that neither seed is a block that `jax.random` computes.
WORDS_DOMAIN = (0x6A64726F, 0x70000000)
KEY_DOMAIN = (0x6A64726F, 0x6B000000)


@functools.partial(jax.jit, static_argnames="rounds")
def threefry2x32(
    k0: jax.Array, k1: jax.Array, x0: jax.Array, x1: jax.Array, rounds: int = ROUNDS
) -> tuple[jax.Array, jax.Array]:
    """Encrypts the block (x0, x1) under the key (k0, k1).

    The rounds are written out, so that XLA compiles a draw into one vectorised loop.
    `jax.random` runs them as a loop over whole arrays, at the price of memory traffic.

    Args:
      k0: First key word, uint32.
      k1: Second key word, uint32.
      x0: First counter word, uint32, of any shape that broadcasts with the others.
      x1: Second counter word, likewise.
      rounds: Number of rounds; `docs/draw.md` says what fewer would save.

    Returns:
      Two uint32 arrays of the broadcast shape.

    References:
      Salmon, Moraes, Dror and Shaw, 2011. Parallel random numbers: as easy as 1, 2, 3.
      https://doi.org/10.1145/2063384.2063405
    """
    schedule = (k0, k1, k0 ^ k1 ^ np.uint32(_PARITY))
    x0, x1 = x0 + k0, x1 + k1
    for done in range(1, rounds + 1):
        rotation = _ROTATIONS[(done - 1) % 8]
        x0 = x0 + x1
        x1 = (x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))
        x1 = x1 ^ x0
        if done % 4 == 0:
            group = done // 4
            x0 = x0 + schedule[group % 3]
            x1 = x1 + schedule[(group + 1) % 3] + np.uint32(group)
    return x0, x1


def seed_words(key: jax.Array, domain: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Absorbs the words of any `jax.random` key, two at a time, into a 64-bit seed.

    A key of two words is mapped one to one. The number of words is part of the domain,
    so keys of different lengths never share a seed by padding.

    Args:
      key: A typed key of any implementation, or a legacy uint32 key.
      domain: What the seed is for: two words that no other use begins with.

    Returns:
      Two uint32 scalars.
    """
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(key) if typed else key
    (count,) = words.shape
    seed = (jnp.uint32(domain[0]), jnp.uint32(domain[1] + count))
    for i in range(0, count, 2):
        second = words[i + 1] if i + 1 < count else jnp.uint32(0)
        seed = threefry2x32(*seed, words[i], second)
    return seed


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("value",), meta_fields=("pairs",)
)
@dataclasses.dataclass(frozen=True)
class Rate:
    """A probability of dropping that the digits can express.

    Attributes:
      value: The realised rate, a float32 scalar in [0, 1], or NaN.
      pairs: How many digit pairs reach down to the last 1 of its threshold, or None
        if the value was traced. Digits below that are never drawn.
    """

    value: np.float32 | jax.Array
    pairs: int | None

    @classmethod
    def of(cls, rate: ArrayLike) -> "Rate":
        """Rounds a rate to 16 digits, or to 32 outside [2^-8, 1 - 2^-8].

        Outside, 16 would be coarse. Both are exact in float32. Rates below 0 become 0,
        rates above 1 become 1, and NaN stays NaN.

        Args:
          rate: Requested probability of dropping, a real scalar.

        Returns:
          The realised rate. NumPy computes it where the rate is concrete, because an
          eager call must not wait for a device to know how many pairs there are.
        """
        xp: Any = jnp if is_traced(rate) else np
        asked = xp.asarray(rate).astype(np.float32)
        p = xp.clip(asked, np.float32(0), np.float32(1))
        coarse, fine = (
            xp.round(p * np.float32(2**digits)) * np.float32(2**-digits)
            for digits in (16, 32)
        )
        is_common = (p >= np.float32(2**-8)) & (p <= np.float32(1 - 2**-8))
        value = xp.where(is_common, coarse, fine)
        if xp is jnp:
            return cls(value, None)
        return cls(np.float32(value), int(digit_pairs(threshold(value))))


# NumPy computes these two where the rate is concrete, and JAX where it is traced.
def threshold(value: np.float32 | jax.Array) -> Any:
    """The digits of a realised rate below 1, as a fraction of 2^32: a uint32 scalar."""
    xp: Any = jnp if is_traced(value) else np
    below_one = xp.where(value < 1, value, np.float32(0))
    return (below_one * np.float32(2**32)).astype(np.uint32)


def digit_pairs(threshold: Any) -> Any:
    """How many digit pairs reach down to the last 1 of a threshold: 0 to 16."""
    digits_before = np.arange(0, 32, 2, dtype=np.uint32)
    return ((threshold << digits_before) != 0).sum(dtype=np.int32)


def row_layout(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Splits a shape into the axes that number the rows and the lanes of a row.

    A row is the last axis. Where that is shorter than a word, the axes before it join
    in until a row fills a word or only axis 0 is left, which never joins, so that an
    example's bits do not depend on the batch around it.

    Args:
      shape: Shape of the mask.

    Returns:
      The shape of the row axes, and the number of lanes in a row.
    """
    axis = max(len(shape) - 1, 0)
    while axis > 1 and math.prod(shape[axis:]) < LANES:
        axis -= 1
    return shape[:axis], math.prod(shape[axis:])


def words_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the packed words of a mask: the row axes, then ceil(lanes / 32)."""
    rows, lanes = row_layout(shape)
    return (*rows, -(-lanes // LANES))


def counters(shape: tuple[int, ...], offset: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """The counters of the first digit pair of each word.

    Each comes from iotas along its own axes, so that a shard of the words knows its
    counters without asking its neighbours.

    Args:
      shape: The shape of the words.
      offset: Index of the first row along axis 0, a uint32 scalar.

    Returns:
      Row numbers and `PAIRS` times word numbers: uint32 arrays that broadcast to the
      shape. A digit pair is the block (row, word * PAIRS + pair).
    """
    *rows, _ = shape
    ones = [1] * len(rows)
    row = jnp.zeros((*ones, 1), jnp.uint32)
    for axis, size in enumerate(rows):
        along = [*ones, 1]
        along[axis] = size
        index = lax.broadcasted_iota(jnp.uint32, along, axis)
        if axis == 0:
            index = index + offset
        row = row + index * jnp.uint32(math.prod(rows[axis + 1 :]))
    word = lax.broadcasted_iota(jnp.uint32, (*ones, shape[-1]), len(rows))
    return row, word * np.uint32(PAIRS)
