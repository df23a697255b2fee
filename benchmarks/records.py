"""Results as CSV under a header that says how they came about, and tables on pages."""

import datetime
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import cpuinfo
import jax
import numpy as np
import pandas as pd

import jdrop

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"


def provenance(command: str) -> dict[str, str]:
    """The command, the date, the versions, the stream and the hardware of a run."""
    packages = ("jax", "jaxlib", "numpy", "scipy")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": ", ".join([f"python {platform.python_version()}", *versions]),
        "stream": f"{jdrop.STREAM} {fingerprint()}",
        "hardware": f"{cpuinfo.get_cpu_info()['brand_raw']}, {os.cpu_count()} cores",
    }


def fingerprint() -> str:
    """A short hash of a mask: results with another one are of another stream."""
    mask = jdrop.sample_mask(jax.random.key(0), (64, 4096), 0.1)
    return hashlib.sha256(np.asarray(mask.words, "<u4").tobytes()).hexdigest()[:16]


def save(path: Path, header: dict[str, str], rows: pd.DataFrame) -> None:
    """Writes rows under a header, whole or not at all."""
    lines = [f"# {name}: {text}\n" for name, text in header.items()]
    draft = path.with_suffix(".tmp")
    draft.write_text("".join(lines) + rows.to_csv(index=False))
    draft.replace(path)


def load(path: Path) -> tuple[dict[str, str], pd.DataFrame]:
    """Reads the header and the rows."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    header = dict(line.removeprefix("# ").split(": ", 1) for line in lines)
    return header, pd.read_csv(path, skiprows=len(lines), keep_default_na=False)


def fill(page: str, blocks: dict[str, str]) -> str:
    """The page with each block between the two comments of its name.

    Raises:
      ValueError: If the page has no place for a block.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        old, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no place for {name!r}: no {begin} {end}")
        page = f"{before}{begin}\n\n{block.strip()}\n\n{end}{after}"
    return page
