"""Draws in every way, compares with the golden vectors, and says what was found."""

import dataclasses
import importlib.metadata
import json
import platform
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import jdrop
from jdrop.selfcheck.vectors import Vector, load_golden, sha256, to_hex
from jdrop.selfcheck.ways import QUICK, Way, all_ways

PACKAGES = ("jax", "jaxlib", "flax", "numpy")
SETTINGS = (
    *("jax_enable_x64", "jax_threefry_partitionable"),
    *("jax_default_prng_impl", "jax_debug_key_reuse"),
)
WIDTH = 80


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a way.

    Attributes:
      name: The name of the way.
      vectors: The names of its vectors.
      status: "agrees", "differs", "failed" or "skipped".
      reason: Why it was skipped, or the error that made it fail.
      difference: The first word that differs: the vector's name, the word's index and
        the words expected and got. Where the file does not hold that word, the index
        is None and the hash of all words stands for it.
      seconds: How long it took.
    """

    name: str
    vectors: tuple[str, ...]
    status: str = "agrees"
    reason: str | None = None
    difference: dict[str, Any] | None = None
    seconds: float = 0.0


def check(*, quick: bool, as_json: bool) -> bool:
    """Draws in all ways, or in the commonest, and prints; returns whether all agree."""
    start = time.perf_counter()
    golden, missing = load_golden().drawable()
    machine = describe_machine()
    ways = [way for way in all_ways(golden) if way.name in QUICK or not quick]
    if not as_json:
        drawn = {vector for way in ways for vector in way.vectors}
        masks, keys = drawn.intersection(golden.masks), drawn.intersection(golden.keys)
        lacks = f"; this JAX has no {', '.join(missing)} keys" if missing else ""
        count = f"{len(masks)} masks and {len(keys)} keys by name{lacks}"
        print(head(machine, count), flush=True)
    outcomes: list[Outcome] = []
    known: dict[str, np.ndarray] = {}
    for number, way in enumerate(ways, 1):
        show_progress(f"{number}/{len(ways)} {way.name} ...")
        outcomes.append(run(way, known))
        show_progress("")
        if not as_json:
            print(row(outcomes[-1]), flush=True)
    seconds = time.perf_counter() - start
    agrees = all(outcome.status in ("agrees", "skipped") for outcome in outcomes)
    if as_json:
        found = {"agrees": agrees, "quick": quick, "seconds": seconds, **machine}
        checks = [dataclasses.asdict(outcome) for outcome in outcomes]
        print(json.dumps({**found, "missing_keys": missing, "checks": checks}))
    else:
        print(verdict(outcomes, agrees, seconds))
    return agrees


def run(way: Way, known: dict[str, np.ndarray]) -> Outcome:
    """Draws the vectors of a way up to the first difference.

    Args:
      way: What to draw, and how.
      known: All words of the vectors that agreed so far, by name; added to. They tell
        which word differs where the file holds only the first few.

    Returns:
      Its outcome; an error of JAX is one of them.
    """
    outcome = Outcome(way.name, tuple(vector.name for vector in way.vectors))
    if way.skip:
        return dataclasses.replace(outcome, status="skipped", reason=way.skip)
    found: dict[str, Any] = {"status": "failed", "reason": "nothing was drawn"}
    start = time.perf_counter()
    try:
        for vector, words in way.draw(way.vectors):
            found = {}
            if difference := compare(vector, np.asarray(words), known):
                found = {"status": "differs", "difference": difference}
                break
    except Exception as error:
        # What breaks on a new device is a finding, and the other ways go on.
        found = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return dataclasses.replace(outcome, **found, seconds=time.perf_counter() - start)


def compare(
    vector: Vector, words: np.ndarray, known: dict[str, np.ndarray]
) -> dict[str, Any] | None:
    """The first difference of words from a vector's own, if there is one."""
    words = vector.meaning(words)
    digest = sha256(words)
    if digest == vector.sha256:
        known.setdefault(vector.name, words.ravel())
        return None
    expected = known.get(vector.name, np.array(vector.words, np.uint32))
    got = words.ravel()[: expected.size]
    place, digits = None, {"expected": vector.sha256, "got": digest}
    for first in np.flatnonzero(expected[: got.size] != got)[:1]:
        place = tuple(int(i) for i in np.unravel_index(first, words.shape))
        digits = {"expected": to_hex([expected[first]]), "got": to_hex([got[first]])}
    return {"vector": vector.name, "word": place, **digits}


def describe_machine() -> dict[str, Any]:
    """The versions, the devices and the settings that a report needs."""
    installed = importlib.metadata.distributions
    return {
        "jdrop": jdrop.__version__,
        "stream": jdrop.STREAM,
        **{p: next((d.version for d in installed(name=p)), None) for p in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "devices": [{"id": d.id, "kind": d.device_kind} for d in jax.local_devices()],
        "settings": {name: getattr(jax.config, name, None) for name in SETTINGS},
    }


def head(machine: dict[str, Any], vectors: str) -> str:
    """What is checked where, and the head of the table."""
    kinds = Counter(device["kind"] for device in machine["devices"]).items()
    devices = ", ".join(f"{count} x {kind}" for kind, count in kinds)
    settings = machine["settings"].items()
    lines = [
        hang("jdrop     ", f"{machine['jdrop']}, stream {machine['stream']}"),
        hang(
            "packages  ", ", ".join(f"{p} {machine[p]}" for p in PACKAGES if machine[p])
        ),
        hang("Python    ", f"{machine['python']} on {machine['platform']}"),
        hang("devices   ", f"{devices} (backend {machine['backend']})"),
        hang(
            "settings  ",
            ", ".join(f"{k.removeprefix('jax_')}={v}" for k, v in settings),
        ),
        hang("vectors   ", vectors),
    ]
    return "\n".join([*lines, "", f"{'drawn':<26}{'vectors':>7}  result"])


def show_progress(text: str) -> None:
    """Shows on a terminal what is going on, in place of what was shown before."""
    if sys.stderr.isatty():
        print(f"{text:<{WIDTH // 2}}", end="\r", file=sys.stderr, flush=True)


def row(outcome: Outcome) -> str:
    """One row of the table, and what went wrong under it."""
    # An output that can encode no more than ASCII shall not end the command.
    reason = (outcome.reason or "").encode("ascii", "backslashreplace").decode()
    result = f"skipped: {reason}" if outcome.status == "skipped" else outcome.status
    lines = [f"{outcome.name:<26}{len(outcome.vectors):>7}  {result}"]
    if outcome.status == "failed":
        lines.append(hang("    ", textwrap.shorten(reason, 2 * WIDTH)))
    if found := outcome.difference:
        place = "hash" if found["word"] is None else f"word {found['word']}"
        lines.append(f"    {found['vector']}: {place}")
        lines.append(f"    expected {found['expected']}")
        lines.append(f"    got      {found['got']}")
    return "\n".join(lines)


def verdict(outcomes: Sequence[Outcome], agrees: bool, seconds: float) -> str:
    """Whether all agree, and what to do if not."""
    count = Counter(outcome.status for outcome in outcomes)
    ran = len(outcomes) - count["skipped"]
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    tally = f"\n{count['agrees']} of {ran} ways agree{skipped}, in {seconds:.1f} s."
    if agrees:
        return f"{tally}\nThis machine draws the masks of {jdrop.STREAM}."
    return (
        f"{tally}\nThis machine does NOT draw the masks of {jdrop.STREAM}.\n"
        "Please report it, with the output of python -m jdrop --json."
    )


def hang(label: str, text: str) -> str:
    """A text beside its label, in lines that fit a terminal."""
    indent = " " * len(label)
    return textwrap.fill(text, WIDTH, initial_indent=label, subsequent_indent=indent)
