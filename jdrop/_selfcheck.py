"""One check: a way to draw golden vectors, and whether it draws what it must."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from jdrop._golden import Vector, sha256

# A vector with the words that were drawn for it.
Drawn = Iterable[tuple[Vector, Any]]


@dataclasses.dataclass(frozen=True)
class Check:
    """One way to draw.

    Attributes:
      name: What it is called in reports.
      vectors: What it draws.
      draw: Takes the vectors and yields each with the words that it got.
      skip: Why it does not apply here, if it does not.
    """

    name: str
    vectors: Sequence[Any]
    draw: Callable[[Sequence[Any]], Drawn]
    skip: str | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first word that is not what it must be.

    Attributes:
      vector: The name of the vector.
      word: Index of the word, or None where the file holds only the hash of it.
      expected: The word, or the hash of all, in hexadecimal digits.
      got: What was drawn instead, likewise.
    """

    vector: str
    word: tuple[int, ...] | None
    expected: str
    got: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a check.

    Attributes:
      name: The name of the check.
      vectors: The names of its vectors.
      status: "agrees", "differs", "failed" or "skipped".
      reason: Why it was skipped, or the error that made it fail.
      difference: Where it differs.
      seconds: How long it took.
    """

    name: str
    vectors: tuple[str, ...]
    status: str
    reason: str | None = None
    difference: Difference | None = None
    seconds: float = 0.0


def run(check: Check, known: dict[str, np.ndarray]) -> Outcome:
    """Draws the vectors of a check up to the first difference.

    Args:
      check: What to draw, and how.
      known: All words of the vectors that agreed so far, by name; added to. They tell
        which word differs where the file holds only the first few.

    Returns:
      Its outcome; an error of JAX is one of them.
    """
    outcome = Outcome(check.name, tuple(v.name for v in check.vectors), "agrees")
    if check.skip:
        return dataclasses.replace(outcome, status="skipped", reason=check.skip)
    start = time.perf_counter()
    try:
        difference = _first_difference(check, known)
        found: dict[str, Any] = {"difference": difference}
        if difference:
            found["status"] = "differs"
    except Exception as error:
        # What breaks on a new device is a finding, and the other checks go on.
        found = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return dataclasses.replace(outcome, **found, seconds=time.perf_counter() - start)


def _first_difference(check: Check, known: dict[str, np.ndarray]) -> Difference | None:
    left = {vector.name for vector in check.vectors}
    for vector, words in check.draw(check.vectors):
        if difference := find_difference(vector, np.asarray(words), known):
            return difference
        left.discard(vector.name)
    if left:
        raise RuntimeError(f"nothing was drawn for {', '.join(sorted(left))}")
    return None


def find_difference(
    vector: Vector, words: np.ndarray, known: dict[str, np.ndarray]
) -> Difference | None:
    """Compares words with a vector; returns the first difference, if any."""
    digest = sha256(words)
    if digest == vector.sha256:
        known.setdefault(vector.name, words.ravel())
        return None
    expected = known.get(vector.name, np.array(vector.words, np.uint32))
    got = words.ravel()[: expected.size]
    differs = np.flatnonzero(expected[: got.size] != got)
    if not differs.size:
        return Difference(vector.name, None, vector.sha256, digest)
    first = int(differs[0])
    index = tuple(int(i) for i in np.unravel_index(first, words.shape))
    return Difference(vector.name, index, f"{expected[first]:08x}", f"{got[first]:08x}")
