"""What a call costs apart from its work: dispatched eagerly, and compiled."""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from benchmarks.costs import torch_peer
from benchmarks.costs.contestants import FLAX, FLOOR, JDROP, SHORT_LIST, gather
from benchmarks.costs.operations import floor, normal
from benchmarks.costs.plan import SHAPES
from benchmarks.costs.regimes import Record, Settings
from benchmarks.costs.timing import Entry, compete, eager

RATE = 0.1


def run(settings: Settings) -> Iterator[Record]:
    """Times an eager call on a small array, and the compilation of one dropout.

    Args:
      settings: Thoroughness and sizes.

    Yields:
      Two contests, with flax.linen and its default keys as reference if it is there.
    """
    yield _contest("eager", "small", eager, settings)
    yield _contest("compile", "large", compiling, settings)


def compiling(name: str, function: Callable[..., Any], *args: Any) -> Entry:
    """An entry that traces, lowers and compiles a function, all from scratch.

    Args:
      name: The contestant's name.
      function: What to compile.
      *args: What to compile it for.

    Returns:
      The entry.
    """

    def run(calls: int) -> float:
        seconds = 0.0
        for _ in range(calls):
            jax.clear_caches()
            start = time.perf_counter()
            # A new function object, or jit would know it.
            jax.jit(functools.partial(function)).lower(*args).compile()
            seconds += time.perf_counter() - start
        return seconds / calls

    return Entry(name, run)


def _contest(
    kind: str, case: str, enter: Callable[..., Entry], settings: Settings
) -> Record:
    first, *rest = SHAPES[case]
    shape = (settings.rows(first), *rest)
    x = normal(shape, "float32")
    entries = [enter(FLOOR, floor(RATE), jax.random.key(1), x)]
    for peer in gather(settings.without):
        everyone = not settings.quick and (
            kind == "eager" or peer.name.endswith("threefry2x32")
        )
        if everyone or peer.name in SHORT_LIST:
            drop = functools.partial(peer.drop, rate=RATE, dims=())
            entries.append(enter(peer.name, drop, peer.key, x))
    if kind == "eager":
        entries += torch_peer.entry(kind, shape, "float32", RATE, settings.without)
    reference = FLAX if any(entry.name == FLAX for entry in entries) else JDROP
    # A turn of compilation is one program, and the first is like the others.
    budget, settle = (settings.sample_seconds, True) if kind == "eager" else (0, False)
    return {
        "kind": kind,
        "case": case,
        "regime": settings.regime,
        "shape": list(shape),
        "dtype": "float32",
        "rate": RATE,
        "reference": reference,
        "rounds": settings.rounds,
        "results": compete(entries, reference, settings.rounds, budget, settle=settle),
    }
