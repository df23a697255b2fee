"""A case is done with one library, and says in a few words what happened."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.base import NotOffered, Peer

# The shape of x where nothing asks for another: one program serves many cases.
SHAPE = (16, 96)
ERROR = "an error"
NOTHING = "0, gradient 0"
# What a library raises that means to; an IndexError, say, is an accident.
REFUSALS = (ValueError, TypeError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class Observation:
    """What happened.

    Attributes:
      observed: A few words, made from the outcome.
      agrees: Whether that is what the case expects; None where it cannot be judged.
      cost: A number of which less is better, in the cases that measure one.
      detail: The message of the exception, if there was one.
    """

    observed: str
    agrees: bool | None = None
    cost: float | None = None
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
      title: What is done.
      expected: What jdrop promises: words, the name of an exception, or `ERROR`.
      look: Does it with a library. Returns what it saw in words, or an array, whose
        values are the words, or an observation that it judged itself.
      raises: The exceptions that an `ERROR` may be.
    """

    title: str
    expected: str
    look: Callable[[Peer], Any]
    raises: tuple[type[Exception], ...] = REFUSALS

    def __call__(self, peer: Peer) -> Observation:
        """What happened, be it an exception: no case stops the others."""
        try:
            seen = self.look(peer)
        except NotOffered as reason:
            return Observation(f"({reason})")
        except Exception as error:
            name = type(error).__name__
            meant = self.expected == ERROR and isinstance(error, self.raises)
            return Observation(name, meant or name == self.expected, None, plain(error))
        if isinstance(seen, Observation):
            return seen
        text = seen if isinstance(seen, str) else values(peer, seen)
        if self.expected == ERROR:
            return Observation(f"accepted: {text}", False)
        return Observation(text, text == self.expected)


def ones(peer: Peer, dtype: Any = np.float32) -> Any:
    """The input of most cases: an output of it shows its mask and its scale."""
    return peer.array(np.ones(SHAPE, dtype))


def drop(peer: Peer, rate: Any, x: Any = None, **options: Any) -> Any:
    """Dropout of x, or of ones, with the key of seed 0."""
    x = ones(peer) if x is None else x
    return peer.drop(peer.key(0), x, rate, **options)


def kept(peer: Peer, y: Any) -> np.ndarray:
    """Where an output of nonzero input is not zero."""
    return peer.read(y) != 0


def values(peer: Peer, y: Any) -> str:
    """The values that an array holds, if they are few, else their range."""
    found = np.unique(peer.read(y).astype(np.float64))
    if len(found) > 3:
        return f"{number(found[0])} to {number(found[-1])}"
    return ", ".join(map(number, found))


def with_slope(peer: Peer, function: Callable[[Any], Any]) -> str:
    """The values of a function of ones, and of its gradient."""
    value = values(peer, function(ones(peer)))
    slope = outcome(lambda: values(peer, peer.slope(function, ones(peer))))
    return f"{value}, gradient {slope}"


def number(value: float) -> str:
    """Three significant digits, and no sign where it says nothing."""
    if math.isnan(value):
        return "nan"
    text = f"{value + 0.0:.3g}"
    return f"{float(text):.0f}" if "e+" in text else text


def plain(message: object) -> str:
    """The start of a message, without colours and without the folders of a machine."""
    text = re.sub(r"\x1b\[\d*m", "", str(message))
    text = re.sub(r"(?<![\w:/.])(/[\w.+-]+)+/(?=[\w.+-])", "", text)
    return " ".join(text.split())[:200]


def outcome(call: Callable[[], str]) -> str:
    """The words that a call returns, or the type of the exception that it raised."""
    try:
        return call()
    except NotOffered:
        raise
    except Exception as error:
        return type(error).__name__


def joined(seen: dict[str, str]) -> str:
    """One text if all modes agree, else one for each."""
    if len(set(seen.values())) == 1:
        return next(iter(seen.values()))
    return "; ".join(f"{mode}: {text}" for mode, text in seen.items())
