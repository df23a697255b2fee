"""Other ways to draw packed words, to be timed beside the one that jdrop has.

Each takes a key, a two-dimensional shape and a rate, and returns packed words in which
a bit is 1 with probability 1 - rate. They are for measurement: rates are numbers with
at most 16 digits, and rows are whole words.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jdrop._stream import PAIRS, ROUNDS, WORDS_DOMAIN, seed_words, threefry2x32

Shape = tuple[int, int]
Draw = Callable[[jax.Array, Shape, float], jax.Array]
Counters = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""The two words of the seed; row and word numbers that broadcast to the words."""
Digits = Callable[[Counters, int], list[jax.Array]]
"""(counters, how many) -> words of random digits, the most significant first."""

DIGITS = 16
# The fewest with which Random123's authors saw threefry2x32 pass every test.
LEAST_ROUNDS = 13
ALL_KEPT = 0xFFFFFFFF
# Digits that the first blocks give to all lanes, and lanes that the next one settles.
FIRST, SETTLED = 8, 8


@dataclass(frozen=True)
class Way:
    """A way to draw.

    Attributes:
      draw: The function.
      digits: Binary digits that it rounds a rate to.
    """

    draw: Draw
    digits: int = DIGITS


def realised(rate: float, digits: int) -> float:
    """The nearest rate of so many binary digits."""
    return round(rate * 2**digits) / 2**digits


def by_threefry(counters: Counters, count: int, rounds: int) -> list[jax.Array]:
    """Two digits a block, as in jdrop's stream."""
    k0, k1, row, word = counters
    digits: list[jax.Array] = []
    for pair in range(-(-count // 2)):
        counter = word * np.uint32(PAIRS) + np.uint32(pair)
        digits += threefry2x32(k0, k1, row, counter, rounds)
    return digits[:count]


def by_philox(counters: Counters, count: int) -> list[jax.Array]:
    """Four digits a block of philox4x32-10, which multiplies where threefry rotates.

    Salmon et al. 2011, section 4.3.
    """
    k0, k1, row, word = counters
    digits: list[jax.Array] = []
    for quad in range(-(-count // 4)):
        counter = word * np.uint32(PAIRS) + np.uint32(quad)
        digits += _philox4x32(k0, k1, row, counter)
    return digits[:count]


def by_chacha(counters: Counters, count: int) -> list[jax.Array]:
    """Sixteen digits, which are one block of ChaCha8, however many are needed.

    Bernstein 2008, "ChaCha, a variant of Salsa20".
    """
    return _chacha8(*counters)[:count]


def written_out(digits_of: Digits, digits: int = DIGITS) -> Draw:
    """All digits in a straight line, inside a loop of one turn that holds the words."""

    def draw(key: jax.Array, shape: Shape, rate: float) -> jax.Array:
        bits = _bits(rate, digits)
        return _held(
            key, shape, lambda counters: _fold(digits_of(counters, len(bits)), bits)
        )

    return draw


def behind_a_barrier(digits_of: Digits) -> Draw:
    """All digits in a straight line, with `optimization_barrier` to hold the words."""

    def draw(key: jax.Array, shape: Shape, rate: float) -> jax.Array:
        bits = _bits(rate, DIGITS)
        digits = digits_of(_counters(key, shape), len(bits))
        return lax.optimization_barrier(_fold(digits, bits))

    return draw


def in_a_loop(rounds: int) -> Draw:
    """A loop over pairs of digits, as jdrop draws where the rate is traced."""

    def draw(key: jax.Array, shape: Shape, rate: float) -> jax.Array:
        k0, k1, row, word = _counters(key, shape)
        bits = _bits(rate, DIGITS)
        pairs = -(-len(bits) // 2)
        ones = jnp.uint32(sum(bit << (31 - i) for i, bit in enumerate(bits)))

        def turn(i: jax.Array, kept: jax.Array) -> jax.Array:
            pair = np.uint32(pairs - 1) - i.astype(jnp.uint32)
            block = threefry2x32(k0, k1, row, word * np.uint32(PAIRS) + pair, rounds)
            for half in (1, 0):
                bit = ones >> (np.uint32(31 - half) - np.uint32(2) * pair)
                zero = (bit & np.uint32(1)) - np.uint32(1)
                kept = (kept & block[half]) | (zero & (kept | block[half]))
            return kept

        return _loop(pairs, turn, shape)

    return draw


def settled_late(rounds: int) -> Draw:
    """Eight digits for all lanes; then a byte for each lane that they leave undecided.

    A lane whose first digits are the rate's is undecided: one in 256. One block more
    has a byte for each of the first eight such lanes of a word. A ninth, which a word
    has with probability 6e-15, would need more bytes; here it stays kept.
    """

    def draw(key: jax.Array, shape: Shape, rate: float) -> jax.Array:
        bits = _bits(rate, DIGITS)
        if len(bits) <= FIRST:
            return written_out(functools.partial(by_threefry, rounds=rounds))(
                key, shape, rate
            )
        return _held(key, shape, lambda counters: _settled(counters, bits, rounds))

    return draw


def lanes_of_bytes(rounds: int) -> Draw:
    """Eight lanes a word: a block is eight digits of one word of eight elements."""

    def octets(counters: Counters, bits: list[int]) -> jax.Array:
        k0, k1, row, word = counters
        digits: list[jax.Array] = []
        for octet in range(-(-len(bits) // 8)):
            counter = word * np.uint32(PAIRS) + np.uint32(octet)
            for half in threefry2x32(k0, k1, row, counter, rounds):
                digits += [half >> np.uint32(8 * place) for place in range(4)]
        return _fold(digits[: len(bits)], bits)

    def draw(key: jax.Array, shape: Shape, rate: float) -> jax.Array:
        bits, narrow = _bits(rate, DIGITS), (shape[0], 4 * shape[1])
        drawn = _held(key, narrow, lambda counters: octets(counters, bits), jnp.uint8)
        return lax.bitcast_convert_type(drawn.reshape(*shape, 4), jnp.uint32)

    return draw


_threefry = functools.partial(by_threefry, rounds=ROUNDS)

WAYS: dict[str, Way] = {
    "20 rounds, written out (jdrop)": Way(written_out(_threefry)),
    "20 rounds, a loop over pairs (jdrop, traced rate)": Way(in_a_loop(ROUNDS)),
    "20 rounds, written out, behind a barrier": Way(behind_a_barrier(_threefry)),
    "16 rounds": Way(written_out(functools.partial(by_threefry, rounds=16))),
    "13 rounds": Way(written_out(functools.partial(by_threefry, rounds=LEAST_ROUNDS))),
    "13 rounds, a loop over pairs": Way(in_a_loop(LEAST_ROUNDS)),
    "12 digits": Way(written_out(_threefry, 12), 12),
    "8 digits": Way(written_out(_threefry, 8), 8),
    "8 digits, then a byte for the undecided": Way(settled_late(ROUNDS)),
    "8 lanes a word": Way(lanes_of_bytes(ROUNDS)),
    "ChaCha8": Way(written_out(by_chacha)),
}
# New in JAX: older versions that jdrop supports do not have it.
if hasattr(lax, "mulhi"):
    WAYS["philox4x32-10"] = Way(written_out(by_philox))


def _counters(key: jax.Array, shape: Shape) -> Counters:
    row = lax.broadcasted_iota(jnp.uint32, (shape[0], 1), 0)
    word = lax.broadcasted_iota(jnp.uint32, (1, shape[1]), 1)
    return (*seed_words(key, WORDS_DOMAIN), row, word)


def _bits(rate: float, digits: int) -> list[int]:
    """The digits of the realised rate down to its last 1, the first one first."""
    return [int(d) for d in f"{round(rate * 2**digits):0{digits}b}".rstrip("0")]


def _fold(digits: list[jax.Array], bits: list[int]) -> jax.Array:
    """Where a uniform with these digits is at least the rate with those."""
    kept = jnp.uint32(ALL_KEPT)
    for digit, bit in zip(reversed(digits), reversed(bits), strict=True):
        kept = kept & digit if bit else kept | digit
    return kept


def _loop(
    turns: int, turn: Callable[..., jax.Array], shape: Shape, dtype: Any = jnp.uint32
) -> jax.Array:
    """A loop whose number of turns the compiler does not see."""
    start = ~jnp.zeros(shape, dtype)
    return lax.fori_loop(
        np.int32(0), lax.optimization_barrier(np.int32(turns)), turn, start
    )


def _held(
    key: jax.Array,
    shape: Shape,
    words: Callable[[Counters], jax.Array],
    dtype: Any = jnp.uint32,
) -> jax.Array:
    """Words drawn in a loop of one turn, whose number, 0, is added to the counters."""
    k0, k1, row, word = _counters(key, shape)

    def turn(i: jax.Array, _: jax.Array) -> jax.Array:
        # Counters are multiples of PAIRS from here on, so that nothing is hoisted.
        return words((k0, k1, row + i.astype(jnp.uint32), word)).astype(dtype)

    return _loop(1, turn, shape, dtype)


def _settled(counters: Counters, bits: list[int], rounds: int) -> jax.Array:
    bits = bits + [0] * (DIGITS - len(bits))
    *digits, low, high = by_threefry(counters, FIRST + 2, rounds)
    kept = undecided = jnp.uint32(ALL_KEPT)
    for digit, bit in zip(digits, bits[:FIRST], strict=True):
        if bit:
            kept &= ~undecided | digit
            undecided &= digit
        else:
            undecided &= ~digit
    rest = np.uint32(int("".join(map(str, bits[FIRST:])), 2))
    for rank in range(SETTLED):
        lane = undecided & (~undecided + np.uint32(1))
        undecided ^= lane
        byte = ((low, high)[rank // 4] >> np.uint32(8 * (rank % 4))) & np.uint32(0xFF)
        kept &= ~jnp.where(byte < rest, lane, np.uint32(0))
    return kept


def _philox4x32(k0: Any, k1: Any, x0: Any, x1: Any) -> list[jax.Array]:
    x2 = x3 = jnp.uint32(0)
    first, second = np.uint32(0xD2511F53), np.uint32(0xCD9E8D57)
    for done in range(10):
        if done:
            k0, k1 = k0 + np.uint32(0x9E3779B9), k1 + np.uint32(0xBB67AE85)
        high0, low0 = _product(first, x0)
        high1, low1 = _product(second, x2)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
    return [x0, x1, x2, x3]


def _product(constant: np.uint32, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The high and the low word of a product."""
    return lax.mulhi(jnp.full_like(x, constant), x), x * constant


def _chacha8(k0: Any, k1: Any, row: Any, word: Any) -> list[jax.Array]:
    # "expand 32-byte k", the seed, zeros, and in the last row the two counters.
    start = [jnp.uint32(word) for word in np.frombuffer(b"expand 32-byte k", "<u4")]
    start += [k0, k1, *[jnp.uint32(0)] * 8, row, word]
    state = list(start)
    for _ in range(4):
        for i in range(4):
            _quarter_round(state, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            diagonal = (4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
            _quarter_round(state, i, *diagonal)
    return [a + b for a, b in zip(state, start, strict=True)]


def _quarter_round(s: list[Any], a: int, b: int, c: int, d: int) -> None:
    for x, y, z, rotation in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = s[x] + s[y]
        mixed = s[z] ^ s[x]
        left, right = np.uint32(rotation), np.uint32(32 - rotation)
        s[z] = (mixed << left) | (mixed >> right)
