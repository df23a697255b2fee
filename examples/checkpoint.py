"""Checkpoints of a run: orbax writes them, a SHA-256 says that they are whole."""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from orbax.checkpoint import v1 as ocp

from examples.data import BadInput
from examples.pack import Tree, layout, pack, unpack

KEPT = 2
# What orbax logs, it also raises.
for logger in (logging.getLogger("absl"), logging.getLogger()):
    logger.addFilter(lambda record: "orbax" not in record.pathname)


class CheckpointError(Exception):
    """A checkpoint could not be written: where, why, and what there is instead."""


class Checkpoints(contextlib.AbstractContextManager["Checkpoints"]):
    """The newest checkpoints of a run, in a folder for each step.

    A folder gets its name when everything in it is written, so whatever kills a run
    leaves the checkpoints that it had. With several processes all of them make the
    same calls, their arrays are replicated, they share the disk, and one writes.
    """

    def __init__(self, directory: Path) -> None:
        """Names the directory of the run; nothing is written there before `save`."""
        self.directory = directory.absolute() / "checkpoints"
        # The last one that was begun.
        self._step: int | None = None

    @cached_property
    def _writer(self) -> Any:
        # A run that was killed left what it was writing; nobody else writes here.
        return ocp.training.Checkpointer(
            self.directory,
            preservation_policy=ocp.training.preservation_policies.LatestN(KEPT),
            cleanup_tmp_directories=True,
        )

    def save(self, step: int, arrays: Tree, facts: Mapping[str, Any]) -> None:
        """Copies the arrays, and writes them while the caller goes on.

        Args:
          step: Names the checkpoint; one that exists is kept as it is.
          arrays: A tree of arrays and typed keys, which the caller may donate.
          facts: What else decides the future, or tells of the past; it is JSON.

        Raises:
          CheckpointError: If this checkpoint could not be written, or, as a failure
            shows in the next call, the one before; if there is a later one.
        """
        self._wait()
        latest = self.latest()
        if latest is not None and latest >= step:
            if latest == step:
                return
            raise CheckpointError(
                f"{self.directory} holds a checkpoint of step {latest}, later than "
                f"step {step}: resume from it, or remove the folder"
            )
        # Of several arrays each prints a traceback where the disk or a file is bad.
        content = pack(arrays)
        # As they will be read: a tuple becomes a list.
        about = json.loads(json.dumps({"facts": facts, "arrays": layout(arrays)}))
        about["sha256"] = _digest(step, content, about)
        self._step, state = step, {"content": content}
        try:
            self._writer.save_async(step, state, custom_metadata=about, force=True)
        except Exception as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Waits for what is being written.

        Raises:
          CheckpointError: If it could not be written.
        """
        self._wait()
        self._forget_writer()

    def __exit__(self, *error: object) -> None:
        """Closes."""
        self.close()

    def latest(self) -> int | None:
        """The step of the newest checkpoint that is completely written."""
        return max(self._steps(), default=None)

    def restore(
        self, like: Tree, expect: Mapping[str, Any]
    ) -> tuple[Tree, dict[str, Any]]:
        """Reads the newest checkpoint.

        Args:
          like: A tree of `jax.ShapeDtypeStruct`; an array goes where its sharding says.
          expect: Facts that must be those of the checkpoint.

        Returns:
          The arrays, bit for bit as they were saved, and all facts.

        Raises:
          BadInput: If there is no checkpoint, or it is corrupt, of other arrays, or of
            other facts.
        """
        step = self.latest()
        if step is None:
            raise BadInput(f"no checkpoint in {self.directory}: start without --resume")
        path = self.directory / str(step)
        content, about = self._read(step)
        facts, given = about["facts"], json.loads(json.dumps(expect))
        if found := [w for f in given for w in _unlike(f, facts.get(f), given[f])]:
            raise BadInput(
                f"the checkpoint {path} is of another run ({'; '.join(found)}): resume "
                "with its options, or start another run in another directory"
            )
        was, now = about["arrays"], layout(like)
        if was != now:
            other = [w for w in was if w not in now], [n for n in now if n not in was]
            has, needs = (", ".join(names[:3]) or "nothing more" for names in other)
            raise BadInput(
                f"the checkpoint {path} is of other arrays (it has {has}; this run has "
                f"{needs}): resume with the options that it was saved with"
            )
        return unpack(content, like), facts

    def _read(self, step: int) -> tuple[np.ndarray, dict[str, Any]]:
        path = self.directory / str(step)
        try:
            about, content = (
                ocp.metadata(path).custom_metadata,
                ocp.load(path)["content"],
            )
            if about.pop("sha256") == _digest(step, content, about):
                return content, about
            reason = "its SHA-256 is another"
        # Whatever a broken file makes orbax, and what it stands on, raise.
        except Exception as error:
            reason = _reason(error)
        before = max((s for s in self._steps() if s < step), default=None)
        remedy = f"go on from step {before}, the one before"
        raise BadInput(
            f"the checkpoint {path} is corrupt ({reason}): remove it to "
            f"{'start anew' if before is None else remedy}"
        )

    def _steps(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        names = (path.name for path in self.directory.iterdir())
        return [int(name) for name in names if name.isdecimal()]

    def _wait(self) -> None:
        if "_writer" in vars(self):
            try:
                self._writer.wait()
            except Exception as error:
                raise self._failed(error) from error

    def _forget_writer(self) -> None:
        if writer := vars(self).pop("_writer", None):
            writer.close()

    def _failed(self, error: Exception) -> CheckpointError:
        # It would raise the same again.
        with contextlib.suppress(Exception):
            self._forget_writer()
        # On a full disk the caller still has files to write.
        for begun in self.directory.glob(f"{self._step}.*"):
            shutil.rmtree(begun, ignore_errors=True)
        latest = self.latest()
        left = "there is none" if latest is None else f"that of step {latest} remains"
        return CheckpointError(
            f"the checkpoint of step {self._step} could not be written to "
            f"{self.directory}: {_reason(error)}; {left}"
        )


def _digest(step: int, content: np.ndarray, about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([step, about], sort_keys=True).encode())
    digest.update(content.data)
    return digest.hexdigest()


def _unlike(name: str, was: Any, now: Any) -> Iterator[str]:
    """Says what differs, by its dotted name."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from _unlike(f"{name}.{key}", was.get(key), now.get(key))
    elif was != now:
        yield f"{name} was {was}, now {now}"


def _reason(error: Exception) -> str:
    """The operating system's, where orbax or tensorstore tells it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line[:100]}"
