"""The process that measures: runs sections one after the other, in one regime.

`python -m benchmarks.speed` starts it, with the environment of the regime. Records go
to a file, one line of JSON each; what a person wants to follow goes to stderr.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.costs.regimes import Record, Settings

# By section: the module that has a `run`.
SECTIONS = {
    "faults": "benchmarks.costs.faults",
    "operations": "benchmarks.costs.operations",
    "alternatives": "benchmarks.costs.alternatives",
    "calls": "benchmarks.costs.calls",
    "train": "benchmarks.costs.train_step",
    "memory": "benchmarks.costs.memory",
    "growth": "benchmarks.costs.growth",
    "scaling": "benchmarks.costs.scaling",
    "inspection": "benchmarks.costs.inspection",
}


def run(settings: Settings) -> Iterator[Record]:
    """Runs the sections of the settings.

    Args:
      settings: What to run. The section "machine" says what it runs on.

    Yields:
      The records.
    """
    if settings.regime == "virtual":
        jax.config.update("jax_num_cpu_devices", 512)
    for section in settings.sections:
        if section == "machine":
            yield _machine(settings)
        else:
            yield from importlib.import_module(SECTIONS[section]).run(settings)


def summary(record: Record) -> str:
    """One line about a record: what, jdrop's figure, and the best of its peers.

    Args:
      record: A record.

    Returns:
      The line.
    """
    words = [record["kind"]]
    fields = ("case", "contestant", "dtype", "devices", "placement")
    words += [str(record[field]) for field in fields if field in record]
    if "rate" in record:
        words.append(f"rate {record['rate']}")
    results = record.get("results", {})
    if "reference" in record:
        words.append(f"[{record['regime']}]")
        words += [f"{name} {_ratio(results, name)}" for name in _shown(results)]
    return "  ".join(words)


def main() -> None:
    """Runs what the command line says: a file for the records, settings in JSON."""
    path, text = sys.argv[1:]
    settings = Settings.from_json(text)
    start = time.monotonic()
    with Path(path).open("a", buffering=1) as file:
        for record in run(settings):
            file.write(json.dumps(record) + "\n")
            elapsed = f"{time.monotonic() - start:7.1f} s"
            print(elapsed, summary(record), sep="  ", file=sys.stderr, flush=True)


def _machine(settings: Settings) -> Record:
    from benchmarks.costs.contestants import absent
    from benchmarks.costs.machine import describe

    return {"kind": "machine", "absent": absent(settings.without)} | describe()


def _shown(results: dict[str, Any]) -> list[str]:
    """Jdrop's entries, and the fastest of the others."""
    own = [n for n in results if n == "jdrop, threefry2x32" or "," not in n]
    peers = [n for n in results if "," in n and not n.startswith("jdrop")]
    best = sorted(peers, key=lambda n: results[n]["seconds"][1])[:1]
    return [n for n in own if n not in ("x * c", "no dropout")] + best


def _ratio(results: dict[str, Any], name: str) -> str:
    return f"{results[name]['ratio'][1]:.2f}"


if __name__ == "__main__":
    main()
