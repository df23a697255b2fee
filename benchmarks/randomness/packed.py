"""Counting in packed masks: arrays of uint32 whose last axis is a row, lane by lane."""

import numpy as np
import numpy.typing as npt

LANES = 32

Words = npt.NDArray[np.uint32]
Counts = npt.NDArray[np.int64]


def count(words: Words, axis: int | tuple[int, ...] | None = None) -> Counts:
    """How many 1 bits there are along the axes of words, or in all."""
    return np.bitwise_count(words).sum(axis, dtype=np.int64)


def count_lanes(words: Words) -> Counts:
    """How many 1 bits each lane of each word has along axis 0, lanes last."""
    lanes = [((words >> lane) & 1).sum(0, dtype=np.int64) for lane in range(LANES)]
    return np.stack(lanes, axis=-1)


def count_pairs(words: Words) -> Counts:
    """For every two lanes of the last axis, in how many rows both are 1.

    The diagonal has the counts of single lanes.
    """
    rows = words.reshape(-1, words.shape[-1])
    pairs: Counts = np.zeros((LANES * rows.shape[1],) * 2, np.int64)
    # Sums of 0 and 1 are exact in float32 up to 2^24.
    step = max(1, 2**24 // pairs.shape[0])
    for start in range(0, len(rows), step):
        bits = unpack(rows[start : start + step]).astype(np.float32)
        pairs += (bits.T @ bits).astype(np.int64)
    return pairs


def ahead(words: Words, distance: int) -> Words:
    """Every lane sees the lane `distance` further on in its row, or 0 past its end."""
    skip, shift = divmod(distance, LANES)
    padding = np.zeros((*words.shape[:-1], skip + 1), np.uint32)
    later: Words = np.concatenate([words[..., skip:], padding], axis=-1)
    if shift == 0:
        return later[..., :-1]
    return (later[..., :-1] >> np.uint32(shift)) | (
        later[..., 1:] << np.uint32(LANES - shift)
    )


def firsts(size: int, distance: int) -> npt.NDArray[np.bool_]:
    """Which places are the first of a pair `distance` apart, pairs being disjoint."""
    place = np.arange(size)
    return (place // distance % 2 == 0) & (place + distance < size)


def pack(bits: npt.NDArray[np.bool_]) -> Words:
    """Packs the last axis, the first bool into the lowest bit of the first word."""
    octets = np.packbits(bits, axis=-1, bitorder="little")
    return octets.view("<u4").astype(np.uint32)


def unpack(words: Words) -> npt.NDArray[np.uint8]:
    """One 0 or 1 a lane: the inverse of `pack`, along the last axis."""
    octets = np.ascontiguousarray(words, "<u4").view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")
