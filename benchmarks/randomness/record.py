"""Results as JSON files: what was run, when, on what, and what came out."""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jdrop

RESULTS = Path(__file__).parent.parent / "results"
LAWS = RESULTS / "randomness-laws.json"
BATTERY = RESULTS / "randomness-battery.json"
TESTU01 = RESULTS / "randomness-testu01.json"


def context(command: str) -> dict[str, Any]:
    """The command, the date, the hardware and the versions of a run."""
    return {
        "command": f"python -m benchmarks.randomness {command}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "fingerprint": fingerprint(),
        "versions": {
            "python": platform.python_version(),
            "jdrop": jdrop.__version__,
            "stream": jdrop.STREAM,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def fingerprint() -> str:
    """A short hash of a mask: evidence with another one is of another stream."""
    mask = jdrop.sample_mask(jax.random.key(0), (64, 4096), 0.1)
    words = np.asarray(mask.words, "<u4")
    return hashlib.sha256(words.tobytes()).hexdigest()[:16]


def save(path: Path, content: Any) -> None:
    """Writes a result, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


def load(path: Path) -> Any:
    """Reads a result, or an empty one where there is none yet."""
    return json.loads(path.read_text()) if path.exists() else {}


_PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


def _processor() -> str:
    """The name of the processor, where the system tells it."""
    table = Path("/proc/cpuinfo")
    text = table.read_text() if table.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()
