"""The results: tidy rows, one a measurement, and where they come from."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cpuinfo
import jax
import pandas as pd

import jdrop
from benchmarks.timing import Quartiles

Row = dict[str, Any]

LABELS = ("section", "case", "memory", "shape", "dtype", "rate", "contestant", "keys")
"""What a row is about. Memory is "warm", "fresh" or "device"."""
NUMBERS = ("rate", "low", "value", "high")
COLUMNS = (*LABELS, "metric", "unit", *NUMBERS[1:])
"""Low and high are quartiles; what is exact has none."""

PACKAGES = ("jax", "jaxlib", "flax", "equinox", "dm-haiku", "torch", "numpy")


@dataclass(frozen=True)
class Settings:
    """What a process measures, and how thoroughly.

    Attributes:
      section: What it measures.
      memory: The state of memory.
      quick: Fewer rounds, rates, sizes and contestants.
    """

    section: str = "ops"
    memory: str = "warm"
    quick: bool = False

    @property
    def pace(self) -> tuple[int, float]:
        """Rounds, and the seconds that a turn lasts at least."""
        return (3, 0.002) if self.quick else (11, 0.02)


def row(
    name: str, metric: str, value: float, unit: str, shape: Any = (), **about: Any
) -> Row:
    """One measurement.

    Args:
      name: The contestant, with its kind of key behind a comma.
      metric: What was measured.
      value: The figure.
      unit: Its unit; of a ratio, what it is to.
      shape: Shape of x.
      **about: Other columns. The process that measures adds section and memory.
    """
    contestant, _, keys = name.partition(", ")
    figure = {"metric": metric, "value": value, "unit": unit}
    lengths = "x".join(map(str, shape))
    return {"contestant": contestant, "keys": keys, "shape": lengths} | about | figure


def quartile_rows(
    results: Mapping[str, Mapping[str, Quartiles]], reference: str, **about: Any
) -> Iterator[Row]:
    """The rows of what `timing.compete` returned."""
    for name, figures in results.items():
        for metric, quartiles in figures.items():
            # More digits than a clock has would only make the file larger.
            low, value, high = (float(f"{figure:.4g}") for figure in quartiles)
            unit = "s" if metric == "time" else f"to {reference}"
            yield row(name, metric, value, unit, **about) | {"low": low, "high": high}


def tidy(rows: list[Any]) -> pd.DataFrame:
    """Rows as a frame of `COLUMNS`; missing labels are "", missing numbers NaN."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {name: float if name in NUMBERS else object for name in COLUMNS}
    return frame.astype(kinds).fillna(dict.fromkeys(set(COLUMNS) - {*NUMBERS}, ""))


def read(path: Path) -> pd.DataFrame:
    """Reads rows that `write` wrote."""
    return tidy(pd.read_csv(path).to_dict("records"))


def write(path: Path, rows: pd.DataFrame, sources: Mapping[str, Any]) -> None:
    """Writes rows as CSV and, by section, their provenance as JSON beside it.

    Sections that the file has and these rows have not are kept, so that some can be
    measured again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        old = read(path)
        rows = pd.concat([old[~old.section.isin(rows.section.unique())], rows])
        sources = read_sources(path) | dict(sources)
    rows = rows.sort_values("section", kind="stable")
    rows.to_csv(path, index=False, float_format="%.12g")
    text = json.dumps(sources, indent=1, sort_keys=True)
    path.with_suffix(".json").write_text(text + "\n")


def read_sources(path: Path) -> dict[str, Any]:
    """The provenance of each section of a CSV."""
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return found


def provenance() -> dict[str, Any]:
    """When, where, by which command and with which versions this process measures."""
    versions = {"python": platform.python_version(), "jdrop": jdrop.__version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.speed", *sys.argv[1:]]),
        "commit": _commit(),
        "stream": jdrop.STREAM,
        "versions": versions,
        "hardware": {
            "processor": cpuinfo.get_cpu_info().get("brand_raw", platform.machine()),
            "cores": os.cpu_count(),
            "memory_gib": round(_host_bytes() / 2**30, 1),
            "backend": jax.default_backend(),
            "device": jax.devices()[0].device_kind,
        },
    }


def device_name(hardware: Mapping[str, Any]) -> str:
    """The processor and its cores, or the accelerator."""
    if hardware["backend"] == "cpu":
        return f"{hardware['processor']}, {hardware['cores']} cores"
    return str(hardware["device"])


def file_name(hardware: Mapping[str, Any]) -> str:
    """A name for the files of a measurement, such as "speed-amd-epyc-2-cores"."""
    name = device_name(hardware).lower()
    return "speed-" + re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def enough_memory(needed: int, what: object) -> bool:
    """Whether bytes fit into three quarters of the memory; says so if they do not."""
    stats = jax.devices()[0].memory_stats() or {}
    if needed <= 0.75 * stats.get("bytes_limit", _host_bytes()):
        return True
    print(f"left out, not enough memory: {what}", file=sys.stderr)
    return False


def _host_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _commit() -> str:
    """The commit of this tree, marked where files have been changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    folder = Path(__file__).parent
    try:
        return subprocess.check_output(
            command, cwd=folder, text=True, stderr=subprocess.DEVNULL, timeout=10
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
