"""Whether jdrop works, and draws the same masks, with old and new versions of JAX.

    python -m benchmarks.versions
    python -m benchmarks.versions --only 0.7.0 --keep build/versions

For each pair of releases below it makes a virtual environment in a temporary folder,
installs a wheel of the working tree there, and runs `python -m jdrop`, then the checks
and masks of `versions_probe.py`. It needs pip, the network, and `python3.12` on the
PATH for releases that this Python is too old for. An environment takes two to four
minutes on two CPU cores. The tables go to `docs/versions.md`, all that was measured to
`benchmarks/results/`; the last line is JSON.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import versions_env, versions_page
from benchmarks.versions_checks import measure

ROOT = Path(__file__).parent.parent

# jax, the month of its release, a flax of that time that asks for no newer jax, and the
# oldest Python that both they and jdrop run on. Beside the oldest jax that works stands
# the flax before the oldest that does.
RELEASES = (
    ("0.4.38", "2024-12", "0.10.2", "3.11"),
    ("0.5.3", "2025-03", "0.10.5", "3.11"),
    ("0.6.2", "2025-06", "0.11.0", "3.11"),
    ("0.7.0", "2025-07", "0.10.7", "3.11"),
    ("0.7.0", "2025-07", "0.11.0", "3.11"),
    ("0.7.2", "2025-09", "0.12.0", "3.11"),
    ("0.8.3", "2026-01", "0.12.3", "3.11"),
    ("0.9.2", "2026-03", "0.12.6", "3.11"),
    ("0.10.2", "2026-06", "0.12.8", "3.11"),
    ("0.11.2", "2026-09", "0.12.10", "3.12"),
    ("0.12.0.1", "2026-10", "0.12.12", "3.12"),
)


def main() -> None:
    """Measures every environment and writes the page."""
    args = parse_arguments()
    chosen = [row for row in RELEASES if not args.only or row[0] in args.only]
    environments = []
    with temporary_folder(args.keep) as folder:
        wheel = versions_env.build_wheel(ROOT, folder)
        for jax, released, flax, python in chosen:
            say(f"jax {jax}, flax {flax}")
            found = measure(folder, jax, flax, python, wheel, keep=bool(args.keep))
            environments.append({"released": released, **found})
            reasons = dict.fromkeys(versions_page.failures(found).values())
            say(f"  {'; '.join(reasons) or 'works'}")
    report = {
        "date": datetime.date.today().isoformat(),
        "wheel": wheel.name,
        "hardware": hardware(),
        "environments": environments,
    }
    print(json.dumps(write(report, args.output)))


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = list(dict.fromkeys(row[0] for row in RELEASES))
    parser.add_argument(
        "--only", nargs="+", metavar="JAX", choices=known, help="only these versions"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="reuse environments")
    parser.add_argument(
        "--output", type=Path, default=ROOT, metavar="DIR", help="where to write"
    )
    return parser.parse_args()


@contextlib.contextmanager
def temporary_folder(keep: Path | None) -> Iterator[Path]:
    """A folder that vanishes afterwards, or the one that is to be kept."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="jdrop-versions-") as name:
            yield Path(name)


def hardware() -> str:
    """The processor, as Linux or else Python names it, and its cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        table = Path("/proc/cpuinfo").read_text()
        if found := re.search(r"^model name\s*:\s*(.+)$", table, re.MULTILINE):
            name = found[1].strip()
    return f"{name}, {os.cpu_count()} cores"


def write(report: dict[str, Any], output: Path) -> dict[str, Any]:
    """Writes the results and the page; returns the summary for the last line."""
    results = output / "benchmarks" / "results" / f"versions-{report['date']}.json"
    page = output / "docs" / "versions.md"
    for path, text in (
        (results, json.dumps(report, indent=1) + "\n"),
        (page, versions_page.render(report)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        say(f"wrote {path}")
    oldest = versions_page.oldest(report)
    return {
        "benchmark": "versions",
        "date": report["date"],
        "environments": len(report["environments"]),
        "working": sum(map(versions_page.works, report["environments"])),
        "oldest": oldest and {name: oldest[name] for name in ("jax", "flax")},
    }


def say(text: str) -> None:
    """Reports progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
