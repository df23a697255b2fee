"""Compiles jdrop and its peers for TPUs and a GPU that are not there.

    nox -s compiled                    makes the environment, and runs what follows
    python -m benchmarks.compiled      all chips, two at a time
    python -m benchmarks.compiled --only v5e h100

The environment needs jax[tpu,cuda12], nvidia-cuda-nvdisasm, the peers and the group
`results`. What is found goes to `benchmarks/results/compiled.csv`, chip by chip, and to
the tables of `docs/compiled.md`.
"""

import argparse
import json
import os
import queue
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import pandas as pd

from benchmarks import records
from benchmarks.compiled import page
from benchmarks.compiled.programs import Program, programs
from benchmarks.compiled.targets import ENVIRONMENT, TARGETS
from benchmarks.compiled.worker import READY

Row = dict[str, Any]


def compile_all(target: str, limit: float) -> Iterator[Row]:
    """Compiles every program for a chip; a row for each, as it is done."""
    every = list(programs())
    done = 0
    while done < len(every):
        # A worker that died, or was stopped, has a successor for what is left.
        command = ["benchmarks.compiled.worker", target, str(done)]
        for found in answers([sys.executable, "-m", *command], limit):
            row = labels(target, every[done]) | found
            done += 1
            print(f"{done}/{len(every)}", *filter(None, map(str, row.values())))
            yield row


def answers(command: list[str], limit: float) -> Iterator[Row]:
    """What a worker says of its programs; why it says no more, if that is too early.

    Args:
      command: Starts the worker.
      limit: Seconds that one answer may take.

    Raises:
      RuntimeError: If it does not even begin.
    """
    lines: queue.Queue[str] = queue.Queue()
    with subprocess.Popen(
        command,
        cwd=records.ROOT,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as worker:
        threading.Thread(target=_listen, args=(worker, lines), daemon=True).start()
        if lines.get() != READY:
            raise RuntimeError(f"it does not begin: {shlex.join(command)}")
        try:
            while line := lines.get(timeout=limit):
                yield json.loads(line)
            if worker.wait():
                yield {"failure": f"the compiler died: exit status {worker.returncode}"}
        except queue.Empty:
            yield {"failure": f"not compiled within {limit:.0f} s"}
        finally:
            worker.kill()


def _listen(worker: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Puts the lines of a worker into a queue, and last an empty one."""
    for line in worker.stdout or ():
        # The compilers print, too.
        if line == READY or line.startswith("{"):
            lines.put(line)
    lines.put("")


def labels(target: str, program: Program) -> Row:
    """The columns that say what was compiled."""
    contestant, _, keys = program.contestant.partition(", ")
    return {
        "section": target,
        "case": program.case,
        "shape": "x".join(map(str, program.shape)),
        "dtype": program.dtype,
        "rate": program.rate,
        "contestant": contestant,
        "keys": keys,
    }


def main(words: list[str] | None = None) -> None:
    """Compiles, and writes the rows of each chip, and the page, when it is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--jobs", type=int, default=2, help="chips at a time")
    parser.add_argument("--limit", type=float, default=300, help="seconds a program")
    options = parser.parse_args(words)
    jax.config.update("jax_platforms", "cpu")
    source = records.provenance("benchmarks.compiled", *sys.argv[1:])
    writing = threading.Lock()

    def run(target: str) -> None:
        rows = pd.DataFrame(compile_all(target, options.limit), columns=page.COLUMNS)
        with writing:
            records.save(page.RESULTS, rows, {target: source})
            page.write()

    with ThreadPoolExecutor(options.jobs) as pool:
        for done in [pool.submit(run, target) for target in options.only]:
            done.result()


if __name__ == "__main__":
    main()
