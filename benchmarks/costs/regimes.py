"""The two states of memory in which a benchmark can find a CPU, and how to get them.

By default glibc hands out every buffer above 32 MiB as fresh pages, and the kernel's
page faults hide the work that is done on them. With the settings of `WARM` the heap
grows once and keeps its pages, as in a program that has run for a while. They are read
when a process starts, so each regime is a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

Record = dict[str, Any]

GIB = 2**30

# One arena, nothing by mmap below 8 GiB, nothing given back, growth in large steps.
WARM = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(8 * GIB),
    "MALLOC_TRIM_THRESHOLD_": str(16 * GIB),
    "MALLOC_TOP_PAD_": str(GIB // 4),
}

ENVIRONMENTS = {
    "warm": WARM,
    "fresh": {},
    # On an accelerator XLA allocates; torch, in the same process, needs some of it.
    "device": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    # Virtual devices exist on the CPU only.
    "virtual": {"JAX_PLATFORMS": "cpu"},
}


@dataclass(frozen=True)
class Settings:
    """What a process measures, and how thoroughly.

    Attributes:
      sections: Names of the sections, in order.
      regime: The state of memory: a key of `ENVIRONMENTS`.
      quick: Fewer rounds, rates, sizes and contestants: a minute in all.
      shrink: Divides the leading axis of every array; 1 for the real sizes.
      without: Libraries to leave out, as if they were not installed.
      dump: Folder for the optimised programs, or "" to write none.
    """

    sections: tuple[str, ...] = ()
    regime: str = "fresh"
    quick: bool = False
    shrink: int = 1
    without: tuple[str, ...] = ()
    dump: str = ""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads settings that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        # JSON has lists where the settings have tuples.
        for name in ("sections", "without"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    def to_json(self) -> str:
        """The settings as text, to hand to another process."""
        return json.dumps(asdict(self))

    @property
    def rounds(self) -> int:
        """How often each contestant takes its turn."""
        return 3 if self.quick else 11

    @property
    def sample_seconds(self) -> float:
        """How long a turn lasts at least, in calls that are averaged."""
        return 0.002 if self.quick else 0.02

    def rows(self, count: int) -> int:
        """A number of rows, shrunk."""
        return max(count // self.shrink, 1)


def environment(regime: str) -> dict[str, str]:
    """The variables of a process in a regime: no caches, no allocator settings but its.

    Args:
      regime: A key of `ENVIRONMENTS`.

    Returns:
      A whole environment.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    # A cached program would have no compile time.
    cold = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    return inherited | cold | ENVIRONMENTS[regime]


def measure(settings: Settings) -> Iterator[Record]:
    """Runs sections in a process of their own and yields what it recorded.

    Args:
      settings: What to run. The process writes each record when it has it, so a
        process that dies leaves those it had.

    Yields:
      The records, and one of kind "failure" if the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        path.touch()
        command = [sys.executable, "-m", "benchmarks.costs.sections", str(path)]
        done = subprocess.run(
            [*command, settings.to_json()],
            env=environment(settings.regime),
            stdout=sys.stderr,
            check=False,
        )
        yield from map(json.loads, path.read_text().splitlines())
    if done.returncode:
        where = f"{', '.join(settings.sections)} ({settings.regime})"
        yield {"kind": "failure", "where": where, "status": done.returncode}
