"""Runs dieharder (Robert G. Brown's suite, a Debian package) on a source of bits."""

import os
import re
import subprocess
from collections.abc import Callable, Iterable

from benchmarks.randomness.controls import Draw
from benchmarks.randomness.layouts import stream
from benchmarks.randomness.packed import Words

Source = Callable[[list[str], int], tuple[str, int]]
"""(arguments that name a test, seed) -> what dieharder prints, bytes it was fed."""


def masks(layout: str, draw: Draw) -> Source:
    """The source of a layout in `LAYOUTS`: its stream, fed through a pipe."""

    def run(arguments: list[str], seed: int) -> tuple[str, int]:
        with subprocess.Popen(
            ["dieharder", "-g", "200", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            taken = feed(process.stdin.fileno(), stream(layout, draw, seed))
            return process.stdout.read().decode(), taken

    return run


def aes(arguments: list[str], seed: int) -> tuple[str, int]:
    """A source beyond doubt: dieharder's own AES in output feedback mode.

    It takes its key from the clock, so no two runs are the same.
    """
    del seed
    command = ["dieharder", "-g", "205", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, 0


def feed(pipe: int, chunks: Iterable[Words]) -> int:
    """Writes chunks into a pipe until its reader closes it; returns the bytes taken."""
    taken = 0
    try:
        for chunk in chunks:
            octets = memoryview(chunk.astype("<u4", copy=False).tobytes())
            while octets:
                written = os.write(pipe, octets)
                taken += written
                octets = octets[written:]
    except BrokenPipeError:
        pass
    return taken


def version() -> str:
    """The version of dieharder, from the banner over its list of tests."""
    listed = subprocess.run(["dieharder", "-l"], capture_output=True, text=True)
    found = re.search(r"version (\S+)", listed.stdout)
    return found[1] if found else "unknown"
