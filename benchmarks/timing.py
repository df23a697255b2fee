"""The clock: contestants take turns in interleaved rounds, and quartiles are kept."""

import functools
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

# Even the shortest call is averaged over no more calls than this in a turn.
MAX_CALLS = 1000

Quartiles = tuple[float, float, float]


class Entry(NamedTuple):
    """A contestant at the start: its name, and its seconds a call over n calls."""

    name: str
    run: Callable[[int], float]


def compete(
    entries: Sequence[Entry], reference: str, rounds: int, turn_seconds: float
) -> dict[str, dict[str, Quartiles]]:
    """Times contestants in rounds, each round in another order.

    ratio = seconds of the contestant / seconds of the reference, in the same round, so
    that what slows a whole round cancels.

    Args:
      entries: The contestants; they have run once before, so nothing compiles here.
      reference: Name of the entry that the ratios are to.
      rounds: Turns of each contestant, two or more.
      turn_seconds: A turn is as many calls as last this long, one or more. A turn of
        several calls begins with one that does not count, so that caches and threads
        are the contestant's own.

    Returns:
      By name: `time`, seconds on the clock, and `ratio` of it; `cpu ratio`, that of the
      processor time of all threads.
    """
    clock, busy = take_turns(entries, rounds, turn_seconds)
    return {
        name: {
            "time": quartiles(clock[name]),
            "ratio": quartiles(_ratios(clock[name], clock[reference])),
            "cpu ratio": quartiles(_ratios(busy[name], busy[reference])),
        }
        for name in clock
    }


def take_turns(
    entries: Sequence[Entry], rounds: int, turn_seconds: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """By name, the seconds a call of each turn, on the clock and of the processor.

    The arguments are those of `compete`.
    """
    calls = {entry.name: _calls(entry, turn_seconds) for entry in entries}
    clock: dict[str, list[float]] = {entry.name: [] for entry in entries}
    busy: dict[str, list[float]] = {entry.name: [] for entry in entries}
    order = random.Random(0)
    for _ in range(rounds):
        for name, run in order.sample(entries, len(entries)):
            if calls[name] > 1:
                run(1)
            start = time.process_time()
            clock[name].append(run(calls[name]))
            busy[name].append((time.process_time() - start) / calls[name])
    return clock, busy


def quartiles(values: Sequence[float]) -> Quartiles:
    """Lower quartile, median and upper quartile of two or more values."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def eager(name: str, function: Callable[..., Any], *args: Any) -> Entry:
    """An entry that calls a function of JAX arrays and waits for what it returns.

    On a CPU each call is waited for. On an accelerator the calls of a turn are queued
    and the last is waited for, as a training loop does, so that a launch is hidden
    behind the work before it.
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
    """An entry that calls a compiled function, and sees that it is traced once."""
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


def compiling(name: str, function: Callable[..., Any], *args: Any) -> Entry:
    """An entry that traces, lowers and compiles a function, all from scratch."""

    def compiled() -> None:
        jax.clear_caches()
        # A new function object, or jit would know it.
        jax.jit(functools.partial(function)).lower(*args).compile()

    return eager(name, compiled)


def _calls(entry: Entry, turn_seconds: float) -> int:
    """Calls that fill a turn, by the faster of two."""
    seconds = min(entry.run(1), entry.run(1))
    return min(max(math.ceil(turn_seconds / seconds), 1), MAX_CALLS)


def _ratios(values: list[float], references: list[float]) -> list[float]:
    return [v / r for v, r in zip(values, references, strict=True)]
