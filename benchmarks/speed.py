"""The benchmark of speed and memory: `python -m benchmarks.speed`.

It measures jdrop, the dropouts of Flax, Equinox, Haiku and PyTorch where they are
installed, and `x * c`, the least that a dropout can do, in interleaved rounds. It takes
up to ten minutes on two cores, with `--quick` about one. It writes tidy rows to
`speed-<hardware>.csv` and their provenance beside it, prints the table of targets, and
last one line of JSON. `python -m benchmarks.plots` draws the figures.
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from benchmarks import exact, ops, records, train_step, trainer
from benchmarks.contestants import absent
from benchmarks.table import Row, Settings, tidy
from benchmarks.targets import contests, headline

# A quick run is not for keeping.
TRIALS = records.ROOT / "build" / "speed"

# By section: what measures it, and the states of memory it is measured in.
SECTIONS: dict[str, tuple[Callable[[Settings], Iterator[Row]], tuple[str, ...]]] = {
    "ops": (ops.run, ("warm", "fresh")),
    "calls": (ops.run, ("warm",)),
    "train_step": (train_step.run, ("warm",)),
    "trainer": (trainer.run, ("warm",)),
    "growth": (ops.run, ("warm",)),
    "family": (exact.run_family, ("warm",)),
    "memory": (exact.run_memory, ("warm",)),
    "program": (exact.run_program, ("warm",)),
}
# By default glibc hands out every buffer above 32 MiB as fresh pages, and the kernel's
# page faults hide the work that is done on them. With the settings of "warm" the heap
# grows once and keeps its pages, as in a program that has run for a while.
ENVIRONMENTS = {
    "warm": {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
        "MALLOC_TOP_PAD_": str(1 << 28),
    },
    "fresh": {},
}
EVERYWHERE = {
    # A cached program would have no compile time.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    # On an accelerator torch, in the same process, needs some of the memory.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
# The columns of the table that a terminal of 80 columns shows, and their widths.
TERMINAL = {"what": 22, "memory": 6, "target": 6, "met": 6, "jdrop": 8}
TERMINAL |= {"flax, best keys": 12}

Measured = tuple[list[Row], dict[str, Any]]


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a minute's version")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="SECTION",
        help=f"measure some of {', '.join(SECTIONS)} again, and keep the others' rows",
    )
    parser.add_argument("--out", type=Path, help="the folder where results go")
    return parser.parse_args(words)


def environment(state: str) -> dict[str, str]:
    """The variables of a process: no cache, no allocator settings but its state's."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    return inherited | EVERYWHERE | ENVIRONMENTS[state]


def measure(settings: Settings) -> Measured:
    """Measures one section in this process, and says on stderr how it goes."""
    start, rows = time.monotonic(), []
    state = settings.memory if jax.default_backend() == "cpu" else "device"
    for row in SECTIONS[settings.section][0](settings):
        rows.append({"section": settings.section, "memory": state} | row)
        if row["contestant"] == "jdrop" and row["metric"] not in ("time", "cpu ratio"):
            labels = ("case", "dtype", "shape", "rate", "keys", "metric", "value")
            about = " ".join(str(row[label]) for label in labels if label in row)
            elapsed = f"{time.monotonic() - start:6.1f} s"
            print(elapsed, settings.section, state, about, file=sys.stderr, flush=True)
    found = {"seconds": {state: round(time.monotonic() - start, 1)}}
    source = records.provenance("benchmarks.speed", *sys.argv[1:])
    return rows, source | found | {"left out": absent()}


def in_a_process(settings: Settings) -> Measured:
    """Measures one section in a process of its own.

    The settings of memory are read when a process starts.
    """
    here = dict(os.environ)
    spawn = multiprocessing.get_context("spawn")
    try:
        _set_environment(environment(settings.memory))
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(measure, settings).result()
    finally:
        _set_environment(here)


def measure_section(
    section: str, quick: bool, launch: Callable[[Settings], Measured]
) -> Measured:
    """Measures one section in each of its states of memory."""
    rows: list[Row] = []
    source: dict[str, Any] = {}
    for state in SECTIONS[section][1]:
        if source and source["hardware"]["backend"] != "cpu":
            # An accelerator has one state, which the first process was in.
            continue
        more, found = launch(Settings(section, state, quick))
        found["seconds"] = source.get("seconds", {}) | found["seconds"]
        rows, source = rows + more, found
    return rows, source


def main(
    words: list[str] | None = None,
    launch: Callable[[Settings], Measured] = in_a_process,
) -> int:
    """Measures, writes, and prints the table and a line of JSON.

    Args:
      words: The command line; None for that of the process.
      launch: Where a section is measured: `in_a_process`, or `measure`.

    Returns:
      The exit status: 1 if a section failed, whose earlier results are then kept.
    """
    options = arguments(words)
    folder = options.out or (TRIALS if options.quick else records.RESULTS)
    start, measured, failed, path = time.monotonic(), tidy([]), [], None
    for section in options.only:
        try:
            rows, source = measure_section(section, options.quick, launch)
        except Exception:  # A process may die of anything; the others go on.
            traceback.print_exc()
            failed.append(section)
            continue
        # Written section by section: what is measured is not lost.
        suffix = "-quick.csv" if options.quick else ".csv"
        path = folder / (file_name(source["hardware"]) + suffix)
        records.save(path, tidy(rows), {section: source})
        measured = pd.concat([measured, tidy(rows)], ignore_index=True)
    table, won = headline(measured), contests(measured)
    widths = list(TERMINAL.values())
    narrow = table[list(TERMINAL)]
    print(narrow.to_markdown(index=False, tablefmt="simple", maxcolwidths=widths))
    line = {
        "targets": int((table.met != "").sum()),
        "met": int((table.met == "yes").sum()),
        "contests": len(won),
        "won": sum(won),
        "failed": failed,
        "seconds": round(time.monotonic() - start, 1),
        "results": str(path),
    }
    print(json.dumps(line))
    return 1 if failed else 0


def file_name(hardware: Mapping[str, Any]) -> str:
    """A name for the files of a measurement, such as "speed-amd-epyc-2-cores"."""
    name = records.device_name(hardware).lower()
    return "speed-" + re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


if __name__ == "__main__":
    sys.exit(main())
