"""The bit stream: which bit an element owns, given a key, a shape and a rate.

This file is what the golden vectors pin: cipher, seed, rate and layout. In words,
`docs/stream.md` says the same, in enough detail to write it again without reading the
code. How the words are computed may change with every release, and stands in `_draw`.

Thirty-two neighbouring rows share one uint32 word in each column, and each of them owns
one bit of it: a lane of a SIMD machine owns the word of its column and walks down the
rows, so nothing crosses lanes. An element is dropped where its uniform binary fraction
U lies below the realised rate. The digits of U come in pairs: one block of the cipher
holds two of them for each row of a word.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jdrop._arguments import is_traced
from jdrop._axes import is_at_least

STREAM = "jdrop-2-dev"
"""The name of the stream that this version draws. A mask belongs to a stream."""

BITS = 32
"""Rows that share a word."""

PAIRS = 16
"""Digit pairs that a word owns."""

MAX_FIRST = 2**32 // PAIRS
"""Words along the first axis of the words, those before an offset counted."""

MAX_OTHERS = 2**32
"""Words along all other axes together."""

# Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2 and
# section 4.2: the rotations of threefry2x32 and the constant of its key schedule.
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA

ROUNDS = 20
"""Rounds of the cipher: what its authors recommend."""

# ASCII "jdro" and "p", "n", "k": what a user's key is absorbed into, for packed words,
# for noise and for keys by name, so that no seed is a block that `jax.random` computes.
WORDS_DOMAIN = (0x6A64726F, 0x70000000)
NOISE_DOMAIN = (0x6A64726F, 0x6E000000)
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


def mask_seed(key: jax.Array) -> jax.Array:
    """The seed of the words of masks, uint32 of shape (2,)."""
    return jnp.stack(seed_words(key, WORDS_DOMAIN))


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


@dataclasses.dataclass(frozen=True)
class Layout:
    """An array seen as outer x rows x columns.

    Attributes:
      outer: Sizes of the axes that number whole blocks of words.
      rows: Sizes of the axes that number, in C order, the rows that share words.
      columns: Size of the axis along which every element has a word of its own.
    """

    outer: tuple[int, ...]
    rows: tuple[int, ...]
    columns: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Layout":
        """Splits a shape.

        The columns are the last axis. The rows are the shortest run of axes just before
        it that has 32 elements or more and leaves axis 0 out, so that the bits of an
        example do not depend on the batch around it; or, if there is none, all axes
        but the last. One dimension is a column; a scalar is one element.

        Args:
          shape: Shape of the mask.

        Returns:
          The layout. It does not depend on the size of axis 0.

        Raises:
          ValueError: If it depends on a size that an export leaves open.
        """
        if len(shape) < 2:
            return cls((), shape or (1,), 1)
        *before, columns = shape
        for axis in range(len(before) - 1, 0, -1):
            if is_at_least(math.prod(before[axis:]), BITS, shape):
                return cls(tuple(before[:axis]), tuple(before[axis:]), columns)
        return cls((), tuple(before), columns)

    def resized(self, shape: tuple[int, ...]) -> "Layout":
        """The same split of another shape of as many dimensions."""
        if len(shape) < 2:
            return Layout((), shape or (1,), 1)
        lead = len(self.outer)
        return Layout(shape[:lead], shape[lead:-1], shape[-1])

    @property
    def steps(self) -> tuple[int, ...]:
        """Rows from one index along each row axis to the next."""
        return tuple(math.prod(self.rows[i + 1 :]) for i in range(len(self.rows)))

    @property
    def words(self) -> tuple[int, ...]:
        """The shape of the packed words: outer, then ceil(rows / 32), then columns."""
        return (*self.outer, -(-math.prod(self.rows) // BITS), self.columns)


def counters(
    index: Sequence[jax.Array],
    first: Sequence[ArrayLike | None],
    whole: tuple[int, ...],
) -> tuple[jax.Array, jax.Array]:
    """The counters of the first digit pair of each word of a part of a mask.

    Args:
      index: Along each axis the index of a word in the part: uint32 arrays that
        broadcast to the shape of the part.
      first: Along each axis the index of the first word of the part in the whole, a
        uint32 scalar; None for 0.
      whole: The shape of all the words. The size of its first axis plays no part.

    Returns:
      `PAIRS` times the index along the first axis of the whole, and the C-order index
      over the others. Digit pair d of a word is the block of these two, with d added to
      the first.
    """
    places = [
        i if start is None else i + start for i, start in zip(index, first, strict=True)
    ]
    other = jnp.zeros_like(places[-1])
    for axis in range(1, len(places)):
        step = math.prod(whole[axis + 1 :])
        # That of an axis of one index, which plays no part, may be as large.
        step = 0 if isinstance(step, int) and step == MAX_OTHERS else step
        other = other + places[axis] * jnp.uint32(step)
    return places[0] * np.uint32(PAIRS), other
