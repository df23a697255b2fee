"""Drop block in NumPy, block by block: from seeds, and never from a key."""

import math

import numpy as np


def coverage(sizes, block):
    """How many places of a block that fits cover each position of a map."""
    covered = np.zeros(sizes, int)
    places = [size - side + 1 for size, side in zip(sizes, block, strict=True)]
    for place_of in np.ndindex(*places):
        covered[block_at(place_of, block)] += 1
    return covered


def block_at(corner, block):
    return tuple(slice(i, i + side) for i, side in zip(corner, block, strict=True))


def dropped_share(gamma, covered):
    """The expected share of dropped positions."""
    return (1 - (1 - gamma) ** covered).mean()


def gamma_of(rate, sizes, block, calibration="exact"):
    """The rate of seeds in float64, by its definition."""
    covered = coverage(sizes, block)
    if calibration == "paper":
        return rate / covered.mean()
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        is_low = dropped_share(middle, covered) < rate
        low, high = (middle, high) if is_low else (low, middle)
    return low


def drop_block_oracle(seeds, x, block, batch_axis=0):
    """y = m x numel(m) / sum(m) for each example, block by block.

    `seeds` is True where a block is kept, and of the shape of x but for the axes of
    positions, which are shorter by `block`, a side for every axis of x, less 1.
    """
    kept = np.ones(x.shape, bool)
    for corner in np.argwhere(~seeds):
        kept[block_at(corner, block)] = False
    axes = tuple(axis for axis in range(x.ndim) if axis != batch_axis)
    count = kept.sum(axes, keepdims=True)
    total = math.prod(x.shape[axis] for axis in axes)
    return np.where(kept, x * np.where(count, total / np.maximum(count, 1), 0), 0)
