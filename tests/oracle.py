"""docs/stream.md once more, slowly: NumPy and exact arithmetic, no JAX, no jdrop.

Written from that page alone; every function is one of its sections. A key is the
sequence of its words. A part of a larger mask is looked up element by element in the
words of the whole that it touches.
"""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np

MASK_DOMAIN = (0x6A64726F, 0x70000000)
NOISE_DOMAIN = (0x6A64726F, 0x6E000000)
NAME_DOMAIN = (0x6A64726F, 0x6B000000)
INTEGER_TAG = 0x696E7400
WORD = 0xFFFFFFFF

Seed = tuple[int, int]


def encrypt(key: Seed, x0, x1) -> np.ndarray:
    """Section 1: threefry2x32, 20 rounds; blocks of any one shape at once."""
    ks = np.array([*key, key[0] ^ key[1] ^ 0x1BD11BDA], np.uint32)
    x0, x1 = np.broadcast_arrays(np.uint32(x0), np.uint32(x1))
    with np.errstate(over="ignore"):
        x0, x1 = x0 + ks[0], x1 + ks[1]
        for g in range(5):
            for q in (17, 29, 16, 24) if g % 2 else (13, 15, 26, 6):
                x0 = x0 + x1
                x1 = ((x1 << np.uint32(q)) | (x1 >> np.uint32(32 - q))) ^ x0
            x0 = x0 + ks[(g + 1) % 3]
            x1 = x1 + ks[(g + 2) % 3] + np.uint32(g + 1)
    return np.stack([x0, x1])


def _block(key: Seed, x0: int, x1: int) -> Seed:
    first, second = encrypt(key, x0, x1)
    return int(first), int(second)


def seeds(key: Sequence[int], domain: Seed = MASK_DOMAIN) -> list[Seed]:
    """Section 2: every S in turn; the last one is the seed."""
    key = [int(w) for w in key]
    chain = [(domain[0], domain[1] + len(key))]
    for m in range(0, len(key), 2):
        pair = (key[m], key[m + 1] if m + 1 < len(key) else 0)
        chain.append(_block(chain[-1], *pair))
    return chain


def shared_shape(
    shape: Sequence[int], broadcast_dims: Sequence[int], shared: int = 1
) -> list[int]:
    """Section 3.1: 1 along every shared axis."""
    axes = {d % len(shape) for d in broadcast_dims}
    return [shared if axis in axes else int(n) for axis, n in enumerate(shape)]


def split(shape: Sequence[int]) -> tuple[list[int], list[int], int]:
    """Section 3.2: the lengths of the outer axes and of the row axes, the columns."""
    *lead, columns = [*shape, 1] if len(shape) < 2 else shape
    for first in reversed(range(1, len(lead))):
        if prod(lead[first:]) >= 32:
            return lead[:first], lead[first:], columns
    return [], lead, columns


def words_shape(shape: Sequence[int]) -> list[int]:
    """Sections 3.3 and 3.5: the shape of the words, within the limits."""
    outer, rows, columns = split(shape)
    words = [*outer, -(-prod(rows) // 32), columns]
    if prod(words) and (words[0] > 2**28 or prod(words[1:]) > 2**32):
        raise ValueError(f"a mask of shape {(*shape,)} passes the limits of counters")
    return words


def part_of_whole(
    shape: Sequence[int],
    broadcast_dims: Sequence[int] = (),
    offset: int | Sequence[int] = 0,
    within: Sequence[int] | None = None,
) -> tuple[list[int], list[int], list[int]]:
    """Section 3, parts: the shape of the part, its first index, the shape of the whole.

    The whole is cut off where the part ends along axis 0.
    """
    if not shape:
        if offset not in (0, (), []):
            raise ValueError(f"an array without axes has no offset; got {offset}")
        return [], [], []
    if not isinstance(offset, tuple | list):
        offset = [offset, *[0] * (len(shape) - 1)]
    if not all(0 <= o < 2**32 for o in offset):
        raise ValueError(f"an offset is in [0, 2^32); got {offset}")
    if within is not None:
        fits = [o + n <= h for o, n, h in zip(offset, shape, within, strict=True)]
        if not all(fits):
            raise ValueError(f"{shape} from {offset} on does not fit {within}")
    part = shared_shape(shape, broadcast_dims)
    first = shared_shape(offset, broadcast_dims, 0)
    whole = shared_shape(shape if within is None else within, broadcast_dims)
    whole[0] = first[0] + part[0]
    return part, first, whole


class Places(NamedTuple):
    """The words of the whole that a part touches, and its rows in them.

    Attributes:
      i: The counter of each word, of a shape that broadcasts to that of the words.
      j: The other counter.
      rows: How many rows the part has. There are more places, up to whole words: the
        rows of the whole that follow.
      word_row: Which of the touched word rows each row is in.
      bit: Which of its bits each row is.
    """

    i: np.ndarray
    j: np.ndarray
    rows: int
    word_row: np.ndarray
    bit: np.ndarray


def _in_c_order(index: Sequence[np.ndarray], sizes: Sequence[int]) -> np.ndarray:
    """The position in an array of `sizes` of every combination of indices."""
    position = np.int64(0)
    for along, size in zip(index, sizes, strict=True):
        position = position[..., None] * size + along
    return position


def places(shape, broadcast_dims=(), offset=0, within=None) -> Places:
    """Sections 3.3 and 3.4, for a part of a mask or for a whole one."""
    part, first, whole = part_of_whole(shape, broadcast_dims, offset, within)
    sizes = words_shape(whole)
    outer, rows, _ = split(whole)
    index = [o + np.arange(n) for o, n in zip(first, part, strict=True)]
    *lead, columns = index if len(index) > 1 else [*index, np.arange(1)]
    row = _in_c_order(lead[len(outer) :], rows).ravel()
    surplus = row[-1:] + 1 + np.arange(-len(row) % 32)
    numbers = np.concatenate([row, surplus])
    touched, word_row = np.unique(numbers // 32, return_inverse=True)
    i, *others = *lead[: len(outer)], touched, columns
    j = _in_c_order(others, sizes[1:])
    i = i.reshape(-1, *[1] * len(others))
    return Places(i, j, len(row), word_row, (numbers % 32).astype(np.uint32))


def threshold(rate: float) -> tuple[Fraction, list[int]]:
    """Section 4: the realised rate, and the digits of T up to a whole pair.

    Exact arithmetic: `round` of a fraction takes ties to even.
    """
    p = Fraction(min(max(float(np.float32(rate)), 0.0), 1.0))
    edge = Fraction(1, 2**8)
    digits = 16 if edge <= p <= 1 - edge else 32
    p = Fraction(round(p * 2**digits), 2**digits)
    if p == 1:
        return p, []
    t = f"{int(p * 2**32):032b}"
    n = t.rfind("1") + 1
    return p, [int(t[i]) for i in range(n + n % 2)]


def digits(seed: Seed, at: Places, pairs: int) -> np.ndarray:
    """Section 5: u[0], ..., u[2 pairs - 1] of every word, along a leading axis."""
    words = np.broadcast_shapes(at.i.shape, at.j.shape)
    u = np.empty((pairs, 2, *words), np.uint32)
    for d in range(pairs):
        first = (16 * at.i + d).astype(np.uint32)
        u[d] = encrypt(seed, first, at.j.astype(np.uint32))
    return u.reshape(2 * pairs, *words)


def _bits(words: np.ndarray, at: Places) -> np.ndarray:
    """The bit of every place, by row and column."""
    return words[..., at.word_row, :] >> at.bit[:, None] & np.uint32(1)


def words(
    key: Sequence[int],
    shape: Sequence[int],
    rate: float,
    broadcast_dims: Sequence[int] = (),
    offset: int | Sequence[int] = 0,
    within: Sequence[int] | None = None,
) -> np.ndarray:
    """Section 5: the packed mask, by the fold."""
    at = places(shape, broadcast_dims, offset, within)
    p, t = threshold(rate)
    u = digits(seeds(key)[-1], at, len(t) // 2)
    kept = np.full(u.shape[1:], 0 if p == 1 else WORD, np.uint32)
    for n in reversed(range(len(t))):
        kept = kept & u[n] if t[n] else kept | u[n]
    *outer, _, columns = kept.shape
    bits = _bits(kept, at).reshape(*outer, len(at.bit) // 32, 32, columns)
    lanes = np.arange(32, dtype=np.uint32)[:, None]
    return np.bitwise_or.reduce(bits << lanes, axis=-2)


def mask(
    key: Sequence[int],
    shape: Sequence[int],
    rate: float,
    broadcast_dims: Sequence[int] = (),
    offset: int | Sequence[int] = 0,
    within: Sequence[int] | None = None,
) -> np.ndarray:
    """Section 5: True where U >= p, by that comparison and not by the fold.

    It has the shape of x: the elements that share a bit each have it.
    """
    at = places(shape, broadcast_dims, offset, within)
    p, t = threshold(rate)
    fraction = np.uint64(0)
    for n, digit in enumerate(digits(seeds(key)[-1], at, max(1, len(t) // 2))):
        fraction = fraction | _bits(digit, at).astype(np.uint64) << np.uint64(31 - n)
    kept = fraction >= np.uint64(p * 2**32)
    return _for_each_element(kept, at, shape, broadcast_dims)


def noise(
    key: Sequence[int],
    shape: Sequence[int],
    broadcast_dims: Sequence[int] = (),
    offset: int | Sequence[int] = 0,
    within: Sequence[int] | None = None,
) -> np.ndarray:
    """Section 6: one uniform word an element, in the shape of x."""
    at = places(shape, broadcast_dims, offset, within)
    v = np.moveaxis(digits(seeds(key, NOISE_DOMAIN)[-1], at, 16), 0, -2)
    return _for_each_element(v[..., at.word_row, at.bit, :], at, shape, broadcast_dims)


def symmetric(v: np.ndarray) -> np.ndarray:
    """Section 6: the numbers in (-1, 1) of noise words."""
    return (2 * (v // 2**8).astype(np.float64) + 1 - 2**24) / 2**24


def _for_each_element(values, at: Places, shape, broadcast_dims) -> np.ndarray:
    """The values by row and column in the shape of x, without the surplus."""
    own = values[..., : at.rows, :].reshape(shared_shape(shape, broadcast_dims))
    return np.broadcast_to(own, shape)


def key_for(key: Sequence[int], *path: str | int) -> np.ndarray:
    """Section 7: the words of the key of that name."""
    seed = seeds(key, NAME_DOMAIN)[-1]
    for part in path:
        if isinstance(part, str):
            digest = hashlib.sha256(part.encode()).digest()
            pair = int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")
        elif 0 <= part < 2**32:
            pair = int(part), INTEGER_TAG
        else:
            raise ValueError(f"an integer of a path is in [0, 2^32); got {part}")
        seed = _block(seed, *pair)
    k = len(key)
    blocks = [_block(seed, m // 2, k) for m in range(0, k, 2)]
    return np.array([w for block in blocks for w in block][:k], np.uint32)
