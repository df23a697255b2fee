"""Results: rows as CSV, where they come from as JSON beside it, and tables on pages."""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cpuinfo
import jax
import numpy as np
import pandas as pd

import jdrop

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

PACKAGES = ["jax", "jaxlib", "flax", "equinox", "dm-haiku", "torch", "numpy", "scipy"]
PACKAGES += ["libtpu", "jax-cuda12-plugin", "nvidia-cuda-nvcc-cu12"]

NUMBERS = ["rate", "low", "value", "high", "cost", "p_values", "p_value"]
"""Columns that are not text."""


def provenance(module: str, *arguments: str) -> dict[str, Any]:
    """When, where and with which versions `python -m module arguments` runs."""
    versions = {"python": platform.python_version(), "jdrop": jdrop.__version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "command": shlex.join(["python", "-m", module, *arguments]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "stream": f"{jdrop.STREAM} {fingerprint()}",
        "versions": versions,
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(host_bytes() / 2**30, 1),
            "backend": jax.default_backend(),
            "device": jax.devices()[0].device_kind,
        },
    }


def fingerprint() -> str:
    """A short hash of a mask: results with another one are of another stream."""
    mask = jdrop.sample_mask(jax.random.key(0), (64, 4096), 0.1)
    return hashlib.sha256(np.asarray(mask.words, "<u4").tobytes()).hexdigest()[:16]


def host_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def device_name(hardware: Mapping[str, Any]) -> str:
    """The processor and its cores, or the accelerator."""
    if hardware["backend"] == "cpu":
        return f"{hardware['processor']}, {hardware['cores']} cores"
    return str(hardware["device"])


def save(path: Path, rows: pd.DataFrame, sources: Mapping[str, Any]) -> None:
    """Writes rows, and the provenance of each section of them.

    Sections that the file has and these rows have not are kept, so that some can be
    measured again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and "section" in rows:
        old = read(path)
        rows = pd.concat([old[~old.section.isin(rows.section.unique())], rows])
        rows = rows.sort_values("section", kind="stable")
        sources = read_sources(path) | dict(sources)
    # Whole or not at all.
    draft = path.with_suffix(".tmp")
    rows.to_csv(draft, index=False, float_format="%.12g")
    draft.replace(path)
    path.with_suffix(".json").write_text(json.dumps(sources, indent=1) + "\n")


def read(path: Path) -> pd.DataFrame:
    """The rows: text, as "nan" is an outcome too, and numbers, NaN where missing."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = rows.columns.intersection(NUMBERS)
    return rows.astype(object).assign(**rows[numbers].apply(pd.to_numeric))


def read_sources(path: Path) -> dict[str, Any]:
    """The provenance of each section of a CSV."""
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return found


def runs(sources: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each command that made a CSV."""
    rows = [
        (
            f"`{source['command']}`",
            source["date"],
            ", ".join(map(" ".join, source["versions"].items())),
            device_name(source["hardware"]),
        )
        for source in sources.values()
    ]
    columns = ["command", "date", "versions", "hardware"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates()


def table(rows: pd.DataFrame) -> str:
    """Rows as Markdown, unpadded, or one new figure would change every line."""
    cells = rows.map(
        lambda cell: f"{cell:.3g}" if isinstance(cell, float) else str(cell)
    )
    cells = cells.map(lambda text: text.replace("|", "\\|"))
    # A hash such as 1e367825 is not a number.
    text = cells.to_markdown(index=False, tablefmt="github", disable_numparse=True)
    return re.sub("-{3,}", "---", re.sub(" +", " ", text))


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """The page with each block between the two comments of its name.

    Raises:
      ValueError: If the page has no place for a block.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no place for {name!r}: no {begin} {end}")
        page = f"{before}{begin}\n\n{block.strip()}\n\n{end}{after}"
    return page


@functools.cache
def _processor() -> str:
    """The name of the processor, which takes a second to find."""
    return str(cpuinfo.get_cpu_info().get("brand_raw", platform.machine()))


def _commit() -> str:
    """The commit of this tree, marked where its code has been changed since."""
    try:
        commit = _git("describe", "--always", "--exclude=*")
        # A run that writes its results as it goes must not mark its own later parts.
        changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.check_output(
        command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL, timeout=10
    ).strip()
