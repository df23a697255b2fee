"""What a measurement was made on: hardware, versions, and a name for its files."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import jax

import jdrop

PACKAGES = ("jax", "jaxlib", "flax", "equinox", "dm-haiku", "torch", "numpy")


def describe() -> dict[str, Any]:
    """The machine and the software, as far as they bear on speed.

    Returns:
      Strings and numbers that JSON can hold.
    """
    devices = jax.devices()
    return {
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(memory_bytes("MemTotal") / 2**30, 1),
            "backend": jax.default_backend(),
            "device": devices[0].device_kind,
            "devices": len(devices),
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of Python, jdrop, its stream and commit, and the peers installed."""
    found = {
        "python": platform.python_version(),
        "jdrop": jdrop.__version__,
        "stream": jdrop.STREAM,
        "commit": _commit(),
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def memory_bytes(field: str) -> int:
    """A field of the kernel's memory table, such as "MemTotal" or "MemAvailable".

    Args:
      field: Its name.

    Returns:
      Bytes; 0 where there is no such table.
    """
    try:
        table = Path("/proc/meminfo").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB", table, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def free_bytes() -> int:
    """Bytes that an array may take: of the accelerator's memory, or of the host's."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    return memory_bytes("MemAvailable")


def slug(hardware: dict[str, Any]) -> str:
    """A name for the files of a measurement on this hardware.

    Args:
      hardware: The entry of that name of `describe`.

    Returns:
      Lower-case words joined by hyphens, such as "amd-epyc-2-cores".
    """
    if hardware["backend"] == "cpu":
        name = f"{hardware['processor']} {hardware['cores']} cores"
    else:
        name = hardware["device"]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _processor() -> str:
    try:
        table = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", table, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _commit() -> str:
    """The commit of this tree, marked where the library has been changed since."""
    folder = Path(__file__).parent.parent
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
