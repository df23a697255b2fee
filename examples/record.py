"""The files of a run: metrics.jsonl, curves.png and summary.json."""

import json
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.errors import BadInput

FILES = ("metrics.jsonl", "curves.png", "summary.json")


def default_directory(name: str) -> Path:
    """Names a directory that does not exist yet, by the time.

    Args:
      name: What is run.

    Returns:
      A path under `runs`.
    """
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem, *(f"{stem}-{i}" for i in range(2, 100)))
    return next(path for path in map(Path("runs").joinpath, names) if not path.exists())


class Record:
    """An open run: a line of metrics an epoch, then a plot and a summary.

    Metrics are flushed line by line, and the other files appear whole or not at all, so
    whatever is there is valid, however the run ended.
    """

    def __init__(self, directory: Path, *, overwrite: bool = False):
        """Claims a directory, and makes it if need be.

        Args:
          directory: Where the files go.
          overwrite: Whether the files of a previous run there may be removed; other
            files stay in any case.

        Raises:
          BadInput: If the directory holds a run, or cannot be written to.
        """
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            held = [name for name in FILES if (directory / name).exists()]
            if held and not overwrite:
                raise BadInput(
                    f"--out {directory} already holds a run ({', '.join(held)}): name "
                    "another directory, or add --overwrite to replace it"
                )
            for name in held:
                (directory / name).unlink()
            # "x" fails rather than share the file with a run that starts just now.
            self._metrics = (directory / "metrics.jsonl").open("x")
        except OSError as error:
            raise BadInput(
                f"--out {directory} cannot be written to ({error.strerror}): name a "
                "directory of yours"
            ) from error

    def __enter__(self) -> Self:
        """Leaves the closing of the file to a `with`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the metrics."""
        self._metrics.close()

    def add(self, row: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl, and flushes it.

        Args:
          row: Names and numbers; one that is not finite becomes null.
        """
        self._metrics.write(to_json(row) + "\n")
        self._metrics.flush()

    def write(self, name: str, content: bytes) -> None:
        """Writes a file as a whole: under another name first, then renamed.

        Args:
          name: Its name in the directory.
          content: What it holds.
        """
        temporary = self.directory / f".{name}.{os.getpid()}"
        try:
            temporary.write_bytes(content)
            temporary.replace(self.directory / name)
        finally:
            temporary.unlink(missing_ok=True)


def to_json(values: dict[str, Any]) -> str:
    """Writes one line of strict JSON, which knows no NaN and no infinity.

    Args:
      values: Names and values; a number that is not finite becomes null.

    Returns:
      The line, without its end.
    """
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    return json.dumps(finite, allow_nan=False)
