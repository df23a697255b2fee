"""The rate of seeds at which blocks drop a share of a map."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jdrop._arguments import is_traced


def seed_rate(
    p: np.float32 | jax.Array,
    sizes: tuple[int, ...],
    blocks: tuple[int, ...],
    calibration: str,
) -> np.float32 | jax.Array:
    """The probability of a seed, for a probability of dropping."""
    if 0 in sizes:
        return p
    if calibration == "paper":
        of_axes = zip(sizes, blocks, strict=True)
        seen = math.prod(side * (size - side + 1) / size for size, side in of_axes)
        xp: Any = jnp if is_traced(p) else np
        # At rate 1 too, the paper's would keep some.
        wide = xp.asarray(p).astype(np.float32)
        return xp.where(wide >= 1, wide, wide * np.float32(1 / seen))
    exact = _exact_of_traced if is_traced(p) else _exact_of_number
    return exact(p, _coverage(sizes, blocks))


@functools.cache
def _coverage(
    sizes: tuple[int, ...], blocks: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """How many blocks may cover a position, each with how many positions see it so."""
    seen = {1: 1}
    for size, side in zip(sizes, blocks, strict=True):
        index = np.arange(size)
        blocks_of = np.minimum(index, size - side) - np.maximum(index - side + 1, 0) + 1
        counts = np.unique(blocks_of, return_counts=True)
        along = list(zip(*(count.tolist() for count in counts), strict=True))
        before, seen = seen, {}
        for n, share in before.items():
            for m, more in along:
                seen[n * m] = seen.get(n * m, 0) + share * more
    return tuple(sorted(seen.items()))


def _exact(
    p: np.float32 | jax.Array, coverage: tuple[tuple[int, int], ...]
) -> np.float32 | jax.Array:
    """Solves mean((1 - gamma)^n) = 1 - p for gamma.

    Floating-point powers would differ in their last bits between NumPy and a compiler,
    or between processors, and a mask with them. So all is done with uint32, as
    fractions of 2^32 - 1, of which ~ is the complement to 1. The left side grows with
    1 - gamma, whose digits are found one by one.
    """
    xp: Any = jnp if is_traced(p) else np
    p = lax.stop_gradient(p) if is_traced(p) else p
    wide = xp.asarray(p).astype(np.float32)
    is_inside = (wide > 0) & (wide < 1)
    keep = ~(xp.where(is_inside, wide, 0) * np.float32(2**32)).astype(np.uint32)
    n = np.array([n for n, _ in coverage], np.uint32)
    positions = sum(share for _, share in coverage)
    shares = np.array(
        [share * (2**32 - 1) // positions for _, share in coverage], np.uint32
    )

    def mean_power(q: Any) -> Any:
        power, square = xp.full(n.shape, ~np.uint32(0)), q
        for digit in range(int(n.max()).bit_length()):
            is_set = n >> np.uint32(digit) & np.uint32(1) == 1
            power = xp.where(is_set, _product(power, square), power)
            square = _product(square, square)
        return _product(shares, power).sum(dtype=np.uint32)

    def next_digit(i: Any, q: Any) -> Any:
        more = q | np.uint32(2**31) >> xp.asarray(i).astype(np.uint32)
        return xp.where(mean_power(more) <= keep, more, q)

    # In shard_map the carry of a loop varies from the start where the rate does.
    q = keep & np.uint32(0)
    if is_traced(p):
        q = lax.fori_loop(np.int32(0), np.int32(32), next_digit, q)
    else:
        q = functools.reduce(lambda q, i: next_digit(i, q), range(32), q)
    gamma = (~q).astype(np.float32) * np.float32(2**-32)
    return xp.where(is_inside, gamma, wide)


_exact_of_number = functools.lru_cache(maxsize=1024)(_exact)
_exact_of_traced = jax.jit(_exact, static_argnames="coverage")


def _product(a: Any, b: Any) -> Any:
    """The product of two fractions, from their halves, up to 3 units below it."""
    half, low = np.uint32(16), np.uint32(0xFFFF)
    middle = ((a >> half) * (b & low) >> half) + ((a & low) * (b >> half) >> half)
    return (a >> half) * (b >> half) + middle
