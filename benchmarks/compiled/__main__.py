"""Compiles jdrop and its peers for TPUs and a GPU that are not there.

    nox -s compiled                    makes the environment, and runs what follows
    python -m benchmarks.compiled      all chips, two at a time
    python -m benchmarks.compiled --only v5e h100 --part family kernel

What is found goes to `benchmarks/results/compiled.csv`, chip by chip, and to the tables
of `docs/compiled.md`.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import pandas as pd

from benchmarks import records
from benchmarks.compiled import page
from benchmarks.compiled.compiler import figures
from benchmarks.compiled.process import prepare
from benchmarks.compiled.programs import PARTS, Program, section
from benchmarks.compiled.targets import (
    ENVIRONMENT,
    TARGETS,
    environment,
    missing,
)

Row = dict[str, Any]


def compile_all(target: str, part: str, limit: float) -> Iterator[Row]:
    """Compiles the programs of a part for a chip; a row for each, as it is done."""
    every = list(PARTS[part]())
    with tempfile.TemporaryDirectory() as dump:
        calls = [(target, program, dump) for program in every]
        answers = each(figures, calls, limit, environment(part, dump))
        for number, (program, found) in enumerate(zip(every, answers, strict=True), 1):
            row = labels(target, part, program) | found
            print(f"{number}/{len(every)}", *map(str, row.values()), flush=True)
            yield row


def each(
    function: Callable[..., Row],
    calls: Iterable[tuple[Any, ...]],
    limit: float,
    variables: dict[str, str],
) -> Iterator[Row]:
    """What a function returns in a process of its own, or why it does not.

    Args:
      function: Called with each of `calls`, in one process as long as that lives.
      calls: Tuples of arguments.
      limit: The seconds that a call may take; then the process is ended.
      variables: Of the environment of such a process.
    """
    spawn, pool = multiprocessing.get_context("spawn"), None
    for arguments in calls:
        pool = pool or spawn.Pool(1, prepare, (variables,))
        try:
            yield pool.apply_async(function, arguments).get(limit)
        except multiprocessing.TimeoutError:
            pool.terminate()
            pool = None
            yield {"failure": f"no answer within {limit:g} s, or the compiler died"}
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            yield {"failure": f"{type(error).__name__}: {first}"}
    if pool:
        pool.terminate()


def labels(target: str, part: str, program: Program) -> Row:
    """The columns that say what was compiled."""
    contestant, _, keys = program.contestant.partition(", ")
    shape = "x".join(map(str, program.shape))
    row: Row = {"section": section(target, part), "case": program.case, "shape": shape}
    row |= {"dtype": program.dtype, "rate": program.rate}
    return row | {"contestant": contestant, "keys": keys, "failure": ""}


def main(words: list[str] | None = None) -> None:
    """Compiles, and writes the rows of a chip and a part, and the page, when done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--jobs", type=int, default=2, help="chips at a time")
    parser.add_argument("--limit", type=float, default=300, help="seconds a program")
    options = parser.parse_args(words)
    if absent := missing(options.only):
        parser.error(f"not installed: {', '.join(absent)}; nox -s compiled has them")
    # For the processes that compile; this one has read its own before.
    os.environ |= ENVIRONMENT
    jax.config.update("jax_platforms", "cpu")
    source = records.provenance("benchmarks.compiled", *sys.argv[1:])
    writing = threading.Lock()

    def run(target: str, part: str) -> None:
        found = compile_all(target, part, options.limit)
        rows = pd.DataFrame(found, columns=page.COLUMNS)
        with writing:
            records.save(page.RESULTS, rows, {section(target, part): source})
            page.write()

    jobs = itertools.product(options.only, options.part)
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in [pool.submit(run, *job) for job in jobs]:
            done.result()


if __name__ == "__main__":
    main()
