"""A training that is saved on the way, goes on from there, and ends in good order."""

import dataclasses
import hashlib
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jdrop
from examples import loop, parallel, report
from examples.build import Run
from examples.checkpoint import CheckpointError, Checkpoints
from examples.command import Interrupts, Stopped
from examples.config import AUTO, FREE, Config
from jdrop import key_for

# Seconds between checkpoints, where their steps are not given.
INTERVAL = 60


class Training:
    """A run from its start, or from its newest checkpoint, to its end.

    Attributes:
      state: After the last evaluation.
      best: Parameters and averages of BatchNorm: those of the lowest validation loss if
        the run waits for it with patience, else those of the state.
      history: The rows of all evaluations.
    """

    def __init__(self, run: Run, config: Config, out: Path) -> None:
        """Draws the first parameters, or reads the checkpoint that is to go on.

        Raises:
          BadInput: If the checkpoint is corrupt, or not one of this run.
        """
        self._run, self._config, self._metrics = run, config, out / "metrics.jsonl"
        self._key = run.key(config.seed)
        self.state = loop.create_state(run.method, key_for(self._key, "weights"))
        self.best = self.state.params, self.state.stats
        self.history: list[report.Row] = []
        self._facts = _facts(run, config)
        self._checkpoints = Checkpoints(out)
        if config.resume is not None and self._checkpoints.latest() is not None:
            arrays, facts = self._checkpoints.restore(self._arrays(), self._facts)
            self.state, self.best, self._key = arrays
            self.history = facts["history"]
        self._saved = int(self.state.step), time.monotonic()

    def train(
        self, interrupts: Interrupts, show: Callable[[report.Row], None]
    ) -> tuple[str, int]:
        """Takes the steps that are left; returns why it ended, and the exit status.

        A signal that is held back ends it after the steps under way, one that raises at
        once; also a loss that is not finite, and a full disk. What was saved stays.

        Raises:
          Stopped: If a signal ended it before the first evaluation.
        """
        run = self._run
        if self._config.resume is not None:
            # A run that was killed may have left rows after its checkpoint.
            if problem := self._write(self.history, append=False):
                return problem, 1
            # And it may have come to its end before it could say so.
            if message := self._out_of_patience():
                return message, 0
        evaluations = loop.fit(
            self.state,
            run.on_devices(run.splits.train),
            run.splits.validation and run.on_devices(run.splits.validation),
            key_for(self._key, "training"),
            steps=run.steps,
            every=run.every,
            batch_size=run.batch_size,
        )
        try:
            with self._checkpoints:
                for state, row in evaluations:
                    self.state = state
                    self.history.append(row)
                    show(row)
                    message, status = self._judged(row, interrupts)
                    if status != 1:
                        self._save(at_once=bool(message))
                    if message:
                        return message, status
                self._save(at_once=True)
                return "complete", 0
        except CheckpointError as error:
            return str(error), 1
        except Stopped as stop:
            if not self.history:
                raise
            message, status = stop.args
            return message, status

    def _judged(self, row: report.Row, interrupts: Interrupts) -> tuple[str, int]:
        """Keeps an evaluation; a message if the run is to end, and the exit status."""
        config, steps = self._config, f"{row['step']:.0f} of {self._run.steps}"
        if problem := self._write([row], append=True):
            return problem, 1
        if not self._since_best():
            self.best = self.state.params, self.state.stats
        if not math.isfinite(row["train_loss"]):
            return (
                f"the loss is {row['train_loss']} after step {steps}: lower "
                f"--learning-rate, now {config.learning_rate:g}"
            ), 1
        if number := parallel.largest(interrupts.noted):
            name = signal.Signals(number).name
            return f"interrupted by {name} after step {steps}", 128 + number
        return self._out_of_patience(), 0

    def _out_of_patience(self) -> str:
        """The message where the run has waited long enough for a lower loss."""
        since = self._since_best()
        if since != self._config.patience:
            return ""
        return f"no lower validation loss for {since} evaluations"

    def _write(self, rows: list[report.Row], *, append: bool) -> str:
        """Writes metrics, in one process; what went wrong, in all."""
        problem, content = "", b"".join(map(report.to_json, rows))
        if parallel.leads():
            problem = report.write(self._metrics, content, append=append)
        failed = parallel.largest(bool(problem))
        return problem or failed * f"process 0 could not write {self._metrics}"

    def best_row(self) -> report.Row:
        """The evaluation of what is best."""
        return self.history[-1 - self._since_best()]

    def _since_best(self) -> int:
        """How many evaluations ago the validation loss was lowest, if that counts."""
        if self._config.patience == AUTO or not self.history:
            return 0
        losses = [row["validation_loss"] for row in self.history]
        return len(losses) - 1 - losses.index(min(losses))

    def _arrays(self) -> loop.Tree:
        return self.state, self.best, self._key

    def _save(self, *, at_once: bool) -> None:
        """Saves a checkpoint if it is due; all processes have to agree that it is."""
        step, every = int(self.state.step), self._config.checkpoint_every
        saved_step, saved_time = self._saved
        if every == AUTO:
            due = time.monotonic() - saved_time >= INTERVAL
        else:
            due = step // every > saved_step // every
        if at_once or parallel.largest(due):
            facts = {**self._facts, "history": self.history}
            self._checkpoints.save(step, self._arrays(), facts)
            self._saved = step, time.monotonic()


def _facts(run: Run, config: Config) -> dict[str, Any]:
    """What decides the future beside the arrays of a checkpoint."""
    digest = hashlib.sha256()
    for split in (run.splits.train, run.splits.validation):
        for array in split or ():
            digest.update(array.tobytes())
    options = dataclasses.asdict(config).items()
    return {
        "stream": jdrop.STREAM,
        "options": {name: value for name, value in options if name not in FREE},
        "data": digest.hexdigest(),
    }
