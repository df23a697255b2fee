"""The figures of the benchmark: `python -m benchmarks.plots [run.json]`.

Without a file it takes the newest full run among the results. It writes a PNG for each
figure beside the run, or to `--out`, and prints their paths. It needs Matplotlib.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib

from benchmarks.speed import RESULTS


def newest(folder: Path) -> Path:
    """The newest full run in a folder.

    Args:
      folder: Where `benchmarks.speed` writes.

    Returns:
      The path of its JSON.

    Raises:
      SystemExit: If there is none.
    """
    paths = (p for p in folder.glob("[0-9]*.json") if not p.stem.endswith("-quick"))
    runs = [path for path in paths if "records" in json.loads(path.read_text())]
    if not runs:
        sys.exit(f"No full run in {folder}: run `python -m benchmarks.speed` first.")
    return max(runs, key=lambda path: path.stat().st_mtime)


def main() -> None:
    """Reads a run and writes its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots")
    parser.add_argument("run", type=Path, nargs="?", help="what benchmarks.speed wrote")
    parser.add_argument("--out", type=Path, help="where to, if not beside the run")
    options = parser.parse_args()
    path = options.run or newest(RESULTS)
    try:
        run = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"{path} is not a run of benchmarks.speed: {error}")
    folder = options.out or path.parent
    folder.mkdir(parents=True, exist_ok=True)

    # Before pyplot, and without a display.
    matplotlib.use("agg")
    from benchmarks.costs.figures import figures
    from benchmarks.costs.palette import STYLE

    with matplotlib.rc_context(STYLE):
        for name, figure in figures(run):
            target = folder / f"{path.stem}-{name}.png"
            figure.savefig(target)
            print(target)


if __name__ == "__main__":
    main()
