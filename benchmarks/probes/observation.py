"""A probe looks at one library and says, in a few words, what happened."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.peers.base import NotOffered, Peer

SHAPE = (16, 96)
"""The shape of x where nothing asks for another: one program serves many probes."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """What one probe saw.

    Attributes:
      text: A few words, made from what happened.
      meets: Whether that is what the row asks for; None where it cannot be judged.
      cost: A number of which less is better, in the rows that measure one.
      detail: The message of the exception, if there was one.
    """

    text: str
    meets: bool | None = None
    cost: float | None = None
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Probe:
    """A row of the table.

    Attributes:
      title: What is done.
      must: What jdrop's contract asks for.
      look: Does it with a library, and returns what it saw.
    """

    title: str
    must: str
    look: Callable[[Peer], Observation]

    def __call__(self, peer: Peer) -> Observation:
        """What happened, be it an exception: no probe stops the others."""
        try:
            return self.look(peer)
        except NotOffered as reason:
            return Observation(f"({reason})")
        except Exception as error:
            return Observation(type(error).__name__, False, detail=plain(error))


def probe(title: str, must: str) -> Callable[[Callable[[Peer], Observation]], Probe]:
    """Makes a row of a function that looks at a library."""
    return lambda look: Probe(title, must, look)


def plain(message: object) -> str:
    """The start of a message, without colours and without the folders of a machine."""
    text = re.sub(r"\x1b\[\d*m", "", str(message))
    text = re.sub(r"(?<![\w:/.])(/[\w.+-]+)+/(?=[\w.+-])", "", text)
    return " ".join(text.split())[:200]


REFUSALS = (ValueError, TypeError, RuntimeError)
"""What a library raises that means to; an IndexError, say, is an accident."""


def refuses(
    call: Callable[[], Any], kinds: tuple[type[Exception], ...] = REFUSALS
) -> Observation:
    """Expects one of these exceptions; else says what came out instead."""
    try:
        y = call()
    except NotOffered:
        raise
    except Exception as error:
        name = type(error).__name__
        return Observation(name, isinstance(error, kinds), detail=plain(error))
    return Observation(f"accepted: {distinct(y)}", False)


def outcome(call: Callable[[], str]) -> str:
    """The words that a call returns, or the type of the exception that it raised."""
    try:
        return call()
    except NotOffered:
        raise
    except Exception as error:
        return type(error).__name__


def expects(text: str, wanted: str, cost: float | None = None) -> Observation:
    """Compares the words with those that the row asks for."""
    return Observation(text, text == wanted, cost)


def distinct(y: Any) -> str:
    """The values that an array holds, if they are few, else their range."""
    values = np.unique(np.asarray(y).astype(np.float64))
    if len(values) > 3:
        return f"{number(values[0])} to {number(values[-1])}"
    return ", ".join(number(value) for value in values)


def number(value: float) -> str:
    """Three significant digits, and no sign where it says nothing."""
    if math.isnan(value):
        return "nan"
    text = f"{value + 0.0:.3g}"
    return f"{float(text):.0f}" if "e+" in text else text


def ones(peer: Peer, dtype: Any = np.float32) -> Any:
    """The input of most probes: an output of it shows its mask and its scale."""
    return peer.array(np.ones(SHAPE, dtype))


def kept(y: Any) -> np.ndarray:
    """Where an output of nonzero input is not zero."""
    return np.asarray(y) != 0


def per_mode(seen: dict[str, str]) -> str:
    """One text if all modes agree, else one for each."""
    if len(set(seen.values())) == 1:
        return next(iter(seen.values()))
    return "; ".join(f"{mode}: {text}" for mode, text in seen.items())


@contextlib.contextmanager
def setting(name: str, value: Any) -> Iterator[None]:
    """Sets an option of `jax.config` for a while."""
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)
