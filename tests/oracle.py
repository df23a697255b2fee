"""docs/stream.md once more, slowly: NumPy and exact arithmetic, no JAX, no jdrop.

Written from that page alone; every function is one of its sections. A key is the
sequence of its words.
"""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from math import prod

import numpy as np

MASK_DOMAIN = (0x6A64726F, 0x70000000)
NAME_DOMAIN = (0x6A64726F, 0x6B000000)
INTEGER_TAG = 0x696E7400
WORD = 0xFFFFFFFF

Seed = tuple[int, int]


def encrypt(key: Seed, x0, x1) -> np.ndarray:
    """Section 1: threefry2x32, 20 rounds; blocks of any one shape at once."""
    k0, k1 = (np.uint64(k) for k in key)
    ks = [k0, k1, k0 ^ k1 ^ np.uint64(0x1BD11BDA)]
    word, size = np.uint64(WORD), np.uint64(32)
    x0, x1 = np.broadcast_arrays(np.uint64(x0), np.uint64(x1))
    x0, x1 = (x0 + ks[0]) & word, (x1 + ks[1]) & word
    for g in range(5):
        for r in (17, 29, 16, 24) if g % 2 else (13, 15, 26, 6):
            x0 = (x0 + x1) & word
            x1 = ((x1 << np.uint64(r)) | (x1 >> (size - np.uint64(r)))) & word ^ x0
        x0 = (x0 + ks[(g + 1) % 3]) & word
        x1 = (x1 + ks[(g + 2) % 3] + np.uint64(g + 1)) & word
    return np.stack([x0, x1]).astype(np.uint32)


def _block(key: Seed, x0: int, x1: int) -> Seed:
    first, second = encrypt(key, x0, x1)
    return int(first), int(second)


def seeds(key: Sequence[int], domain: Seed = MASK_DOMAIN) -> list[Seed]:
    """Section 2: every S in turn; the last one is the seed."""
    key = [int(w) for w in key]
    chain = [(domain[0], domain[1] + len(key))]
    for i in range(0, len(key), 2):
        pair = (key[i], key[i + 1] if i + 1 < len(key) else 0)
        chain.append(_block(chain[-1], *pair))
    return chain


def shared_shape(shape: Sequence[int], broadcast_dims: Sequence[int]) -> list[int]:
    """Section 3.1: 1 along every shared axis."""
    shared = {d % len(shape) for d in broadcast_dims}
    return [1 if axis in shared else n for axis, n in enumerate(shape)]


def rows_and_columns(shape: Sequence[int]) -> tuple[list[int], int]:
    """Section 3.2: the lengths of the row axes, and the elements of a row."""
    *lead, columns = shape or [1]
    while len(lead) > 1 and columns < 32:
        columns *= lead.pop()
    return lead, columns


def row_numbers(lead: Sequence[int], offset: int) -> np.ndarray:
    """Section 3.3: the number of every row, in the shape of the row axes."""
    if not lead:
        return np.uint32(0)
    first = int(offset) * prod(lead[1:])
    numbers = [(first + i) % 2**32 for i in range(prod(lead))]
    return np.array(numbers, np.uint32).reshape(lead)


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


def digits(
    key: Sequence[int],
    shape: Sequence[int],
    pairs: int,
    broadcast_dims: Sequence[int] = (),
    offset: int = 0,
) -> np.ndarray:
    """Section 5: u[0], ..., u[2 pairs - 1] of every word, along a leading axis."""
    seed = seeds(key)[-1]
    is_first_shared = any(d % len(shape) == 0 for d in broadcast_dims)
    lead, columns = rows_and_columns(shared_shape(shape, broadcast_dims))
    row = row_numbers(lead, 0 if is_first_shared else offset)[..., None]
    word = np.arange(-(-columns // 32))
    u = [u for d in range(pairs) for u in encrypt(seed, row, 16 * word + d)]
    return np.reshape(u, (2 * pairs, *lead, len(word))).astype(np.uint32)


def words(
    key: Sequence[int],
    shape: Sequence[int],
    rate: float,
    broadcast_dims: Sequence[int] = (),
    offset: int = 0,
) -> np.ndarray:
    """Section 5: the packed mask, by the fold."""
    p, t = threshold(rate)
    u = digits(key, shape, len(t) // 2, broadcast_dims, offset)
    kept = np.full(u.shape[1:], 0 if p == 1 else WORD, np.uint32)
    for i in reversed(range(len(t))):
        kept = kept & u[i] if t[i] else kept | u[i]
    return kept


def mask(
    key: Sequence[int],
    shape: Sequence[int],
    rate: float,
    broadcast_dims: Sequence[int] = (),
    offset: int = 0,
) -> np.ndarray:
    """Section 5: True where U >= p, by that comparison and not by the fold."""
    p, t = threshold(rate)
    shared = shared_shape(shape, broadcast_dims)
    lead, columns = rows_and_columns(shared)
    u = digits(key, shape, len(t) // 2, broadcast_dims, offset).astype(np.uint64)
    c = np.arange(columns)
    lanes = (u[..., c // 32] >> (c % 32).astype(np.uint64)) & np.uint64(1)
    fraction = np.zeros((*lead, columns), np.uint64)
    for i, digit in enumerate(lanes):
        fraction += digit << np.uint64(31 - i)
    kept = fraction >= np.uint64(p * 2**32) if p < 1 else fraction < 0
    return np.broadcast_to(kept.reshape(shared), shape)


def key_for(key: Sequence[int], *path: str | int) -> np.ndarray:
    """Section 6: the words of the key of that name."""
    seed = seeds(key, NAME_DOMAIN)[-1]
    for part in path:
        if isinstance(part, str):
            digest = hashlib.sha256(part.encode()).digest()
            pair = int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")
        else:
            pair = int(part), INTEGER_TAG
        seed = _block(seed, *pair)
    n = len(key)
    blocks = [_block(seed, j, n) for j in range((n + 1) // 2)]
    return np.array([w for block in blocks for w in block][:n], np.uint32)
