"""The bit stream: a key, a shape and a rate become packed words.

This file is the whole of what the golden vectors pin. `docs/stream.md` says the same
in words, in enough detail to write it again without reading the code.

Thirty-two neighbouring elements share one uint32 word, and each of them owns one bit
lane of it. An element is dropped where its uniform binary fraction U lies below the
realised rate. That comparison is folded over the digits of U, least significant
first, for all lanes of a word at once: where the rate's digit is 1 a lane stays kept
only if its own digit is 1 (`&`), where it is 0 a lane whose digit is 1 is kept
whatever came before (`|`). Digits below the rate's last 1 are never drawn.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop._check import is_traced

STREAM = "jdrop-1-dev"
"""The name of the stream that this version draws. A mask belongs to a stream."""

LANES = 32
"""Elements that share a word."""

PAIRS = 16
"""Digit pairs that a word owns: its counters are `word * PAIRS + pair`."""

WRITTEN_OUT = 8
"""The most digit pairs that are compiled into one pass: all of a 16-digit rate."""

FEW_WORDS = 1024
"""Below so many words, short passes are faster than one that starts threads."""

FEW_ROWS = 32
"""Below so many rows, the counters of one pass would be as large as its words."""

SHORT_ROW = 8
"""Words to a vector register of common processors."""

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

_ALL_KEPT = 0xFFFFFFFF


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


def consume(key: jax.Array) -> jax.Array:
    """Lets `jax_debug_key_reuse` see that a key is used, and returns it for that use.

    Reading the words of a key does not count as a use; sampling from it does.
    """
    # JAX tracks typed keys only, and takes a legacy key for one of the default kind.
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    # The options of jax.config are added to it at run time.
    if not typed or not jax.config.jax_debug_key_reuse:  # type: ignore[attr-defined]
        return key
    jax.random.bits(key, ())
    return jax.random.clone(key)


def realised_rate(rate: jax.Array) -> jax.Array:
    """Rounds a rate to the nearest one that the digits can express.

    16 digits for rates in [2^-8, 1 - 2^-8], 32 digits outside, where 16 would be
    coarse. Both are exact in float32. Rates below 0 become 0 and rates above 1 become
    1; NaN stays NaN.

    Args:
      rate: Requested probability of dropping, a real scalar.

    Returns:
      A float32 scalar.
    """
    p = jnp.clip(jnp.asarray(rate).astype(jnp.float32), 0.0, 1.0)
    coarse = jnp.round(p * 2.0**16) * 2.0**-16
    fine = jnp.round(p * 2.0**32) * 2.0**-32
    return jnp.where((p >= 2.0**-8) & (p <= 1 - 2.0**-8), coarse, fine)


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


def known_pairs(rate: ArrayLike) -> int | None:
    """How many digit pairs a rate has, if that is known and at most `WRITTEN_OUT`.

    Args:
      rate: Requested probability of dropping: one real number in [0, 1].

    Returns:
      The number of pairs that reach down to the last 1 of the threshold, or None.
    """
    if is_traced(rate):
        return None
    # `realised_rate` once more, in Python: an eager call must not wait for a device.
    p = np.asarray(rate, np.float32).item()
    digits = 16 if 2**-8 <= p <= 1 - 2**-8 else 32
    threshold = round(p * 2**digits) % 2**digits
    to_last_one = len(f"{threshold:0{digits}b}".rstrip("0"))
    pairs = (to_last_one + 1) // 2
    return pairs if pairs <= WRITTEN_OUT else None


def draw_words(
    key: jax.Array,
    shape: tuple[int, ...],
    rate: jax.Array,
    offset: jax.Array,
    pairs: int | None = None,
) -> jax.Array:
    """Draws the packed words of a mask; a 1 bit is a kept element.

    Args:
      key: A single key, typed or legacy. It is consumed.
      shape: Shape of the mask.
      rate: The realised rate, float32 scalar.
      offset: Index of the first row along axis 0, uint32 scalar.
      pairs: `known_pairs` of the rate. The words are the same without it, but drawn
        more slowly.

    Returns:
      uint32 array of shape `words_shape(shape)`.
    """
    k0, k1 = seed_words(key, WORDS_DOMAIN)
    packed = words_shape(shape)
    row, word = _counters(packed, offset)
    few = _is_below(row.size, FEW_ROWS) or _is_below(row.size * word.size, FEW_WORDS)
    # XLA vectorises along the last axis. Where that is short, the first one takes its
    # place while the words are drawn.
    turned = _is_below(word.size, SHORT_ROW)
    if turned:
        packed, row, word = packed[::-1], row.T, word.T
    threshold = jnp.where(rate < 1, rate * 2.0**32, 0.0).astype(jnp.uint32)
    undrawn = jnp.where(rate == 1, jnp.uint32(0), jnp.uint32(_ALL_KEPT))
    # Inside shard_map a loop's carry has to vary over its mesh axes from the start.
    varying = (k0 ^ k1 ^ offset ^ threshold) & np.uint32(0)
    words = jnp.broadcast_to(undrawn | varying, packed)

    def fold_pair(kept: jax.Array, pair: Any, counter: jax.Array) -> jax.Array:
        high, low = threefry2x32(k0, k1, row, counter)
        below = threshold >> (np.uint32(30) - np.uint32(2) * pair)
        kept = _fold(kept, low, below)
        return _fold(kept, high, below >> np.uint32(1))

    if pairs is None or (pairs and few):
        words = _fold_in_turns(fold_pair, word, _digit_pairs(threshold), words)
    elif pairs:
        words = _fold_at_once(fold_pair, word, pairs, words)
    return words.T if turned else words


def _fold_in_turns(
    fold_pair: Callable[..., jax.Array],
    word: jax.Array,
    pairs: jax.Array,
    kept: jax.Array,
) -> jax.Array:
    """Folds one pair of digits in each turn of a loop, the last pair first."""

    def turn(i: jax.Array, kept: jax.Array) -> jax.Array:
        pair = (pairs - 1 - i).astype(jnp.uint32)
        return fold_pair(kept, pair, word * np.uint32(PAIRS) + pair)

    return _loop(pairs, turn, kept)


def _fold_at_once(
    fold_pair: Callable[..., jax.Array], word: jax.Array, pairs: int, kept: jax.Array
) -> jax.Array:
    """Folds all pairs in one pass, in which a processor works on several blocks."""
    each = lax.broadcasted_iota(jnp.uint32, (pairs, *[1] * word.ndim), 0)
    counters = word[None] * np.uint32(PAIRS) + each

    def turn(i: jax.Array, kept: jax.Array) -> jax.Array:
        kept = jnp.full_like(kept, _ALL_KEPT)
        for pair in reversed(range(pairs)):
            # i is 0. Without it the draw would not depend on the loop, and would be
            # moved out of it.
            counter = lax.dynamic_index_in_dim(counters, pair + i, keepdims=False)
            kept = fold_pair(kept, np.uint32(pair), counter)
        return kept

    return _loop(jnp.int32(1), turn, kept)


def _loop(
    turns: jax.Array, turn: Callable[..., jax.Array], start: jax.Array
) -> jax.Array:
    """A loop over words, whose number of turns is hidden from XLA.

    It keeps the words materialised: fused into their use, every element would draw its
    word again. A loop that XLA knows to run once would be dissolved.
    """
    return lax.fori_loop(np.int32(0), lax.optimization_barrier(turns), turn, start)


def _is_below(size: Any, limit: int) -> bool:
    """Whether a size is known to be below a limit: in an export it may be a symbol."""
    return isinstance(size, int) and size < limit


def _counters(shape: tuple[int, ...], offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Row numbers and word numbers, as arrays that broadcast to `shape`.

    Each comes from iotas along its own axes, so that a shard of the words knows its
    counters without asking its neighbours.
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
    return row, word


def _digit_pairs(threshold: jax.Array) -> jax.Array:
    """How many digit pairs reach down to the last 1 of a 32-digit threshold."""
    below_last_one = ~threshold & (threshold - np.uint32(1))
    trailing_zeros = lax.population_count(below_last_one).astype(jnp.int32)
    return (33 - trailing_zeros) // 2


def _fold(kept: jax.Array, digit: jax.Array, threshold: jax.Array) -> jax.Array:
    """One digit of U >= threshold: `kept & digit` where the threshold's bit is 1."""
    zero = (threshold & np.uint32(1)) - np.uint32(1)
    return (kept & digit) | (zero & (kept | digit))
