"""The clock: contestants take turns in interleaved rounds, and quartiles are kept."""

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

# Even the shortest call is averaged over no more calls than this in a turn.
MAX_CALLS = 1000


@dataclass(frozen=True)
class Entry:
    """A contestant at the start: its name, and its seconds per call over n calls."""

    name: str
    run: Callable[[int], float]


def compete(
    entries: Sequence[Entry],
    reference: str,
    rounds: int,
    sample_seconds: float,
    *,
    settle: bool = True,
) -> dict[str, dict[str, Any]]:
    """Times contestants in rounds, each round in another order.

    ratio = seconds of the contestant / seconds of the reference, in the same round, so
    that what slows a whole round cancels.

    Args:
      entries: The contestants; they have run once before, so nothing compiles here.
      reference: Name of the entry that the ratios are to.
      rounds: Turns of each contestant, two or more.
      sample_seconds: A turn is as many calls as last this long, one or more.
      settle: Whether a turn of several calls begins with one that does not count, so
        that caches and threads are the contestant's own.

    Returns:
      By name: `seconds` and `ratio`, each as lower quartile, median and upper
      quartile; `cpu_ratio`, the same of the processor time of all threads; and `calls`,
      the calls that a turn averages.
    """
    calls = {e.name: _calls(e, sample_seconds) for e in entries}
    samples: dict[str, list[float]] = {entry.name: [] for entry in entries}
    busy: dict[str, list[float]] = {entry.name: [] for entry in entries}
    order = random.Random(0)
    for _ in range(rounds):
        for entry in order.sample(entries, len(entries)):
            if settle and calls[entry.name] > 1:
                entry.run(1)
            start = time.process_time()
            samples[entry.name].append(entry.run(calls[entry.name]))
            busy[entry.name].append((time.process_time() - start) / calls[entry.name])
    return {
        name: {
            "seconds": quartiles(times),
            "ratio": quartiles(_ratios(times, samples[reference])),
            "cpu_ratio": quartiles(_ratios(busy[name], busy[reference])),
            "calls": calls[name],
        }
        for name, times in samples.items()
    }


def _ratios(values: list[float], references: list[float]) -> list[float]:
    return [v / r for v, r in zip(values, references, strict=True)]


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median and upper quartile of two or more values."""
    return statistics.quantiles(values, n=4, method="inclusive")


def eager(name: str, function: Callable[..., Any], *args: Any) -> Entry:
    """An entry that calls a function of JAX arrays and waits for what it returns.

    On a CPU each call is waited for. On an accelerator the calls of a turn are queued
    and the last is waited for, as a training loop does, so that a launch is hidden
    behind the work before it.

    Args:
      name: The contestant's name.
      function: What to call.
      *args: What to call it with.

    Returns:
      The entry, after a first call.
    """
    wait_each = jax.default_backend() == "cpu"

    def run(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            result = function(*args)
            if wait_each:
                jax.block_until_ready(result)
        jax.block_until_ready(result)
        return (time.perf_counter() - start) / calls

    run(1)
    return Entry(name, run)


def jitted(name: str, function: Callable[..., Any], *args: Any) -> Entry:
    """An entry that calls a compiled function, and makes sure that it is traced once.

    Args:
      name: The contestant's name.
      function: What to compile.
      *args: What to call it with.

    Returns:
      The entry, compiled.
    """
    traces = 0

    def counted(*args: Any) -> Any:
        nonlocal traces
        traces += 1
        return function(*args)

    inner = eager(name, jax.jit(counted), *args)

    def run(calls: int) -> float:
        seconds = inner.run(calls)
        if traces != 1:
            raise AssertionError(f"{name} was traced {traces} times, not once.")
        return seconds

    return Entry(name, run)


def _calls(entry: Entry, sample_seconds: float) -> int:
    """Calls that fill a turn, by the faster of two."""
    seconds = min(entry.run(1), entry.run(1))
    return min(max(math.ceil(sample_seconds / seconds), 1), MAX_CALLS)
