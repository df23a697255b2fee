"""What of a training reproduces, and how exactly: `python -m examples.reproduce`.

Runs the trainer again, killed and resumed, on several devices (those of a CPU are
virtual), in micro-batches, in two processes, with linen and with nnx; about two minutes
on two cores. What is given behind it goes to the trainer, as in `--model cnn`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from examples import command

SHORT = ("--steps", "310", "--eval-every", "31", "--checkpoint-every", "31")
DEVICES = 8
FLAGS = f"--xla_force_host_platform_device_count={DEVICES}"
ROWS = 9
# Seconds that a single run may take.
LIMIT = 600
# Sums in another order: of losses, relatively.
TOLERANCE = 1e-3


class Result(NamedTuple):
    """What a run of the trainer has left."""

    summary: dict[str, Any]
    weights: dict[str, np.ndarray]

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return str(self.summary["params_sha256"])


class Trainer:
    """Runs the trainer with some options in processes of its own."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        """Notes where the runs go, and what they have in common."""
        self._folder, self._options = folder, options

    def run(self, name: str, *options: str, processes: int = 1) -> Result:
        """Runs it to its end, in one process or several."""
        each: list[list[str]] = [[]]
        if processes > 1:
            address = f"localhost:{_free_port()}"
            several = ["--coordinator", address, "--num-processes", str(processes)]
            each = [[*several, "--process-id", str(i)] for i in range(processes)]
        started = [self._start(name, *options, *more) for more in each]
        try:
            for process in started:
                self._finish(process)
        finally:
            # One that failed, or a signal, leaves no others behind.
            for process in started:
                process.kill()
        return self._result(name)

    def run_killed(self, name: str, *options: str) -> Result:
        """Kills it at its fourth evaluation, and runs it on."""
        process = self._start(name, *options)
        metrics, limit = self._folder / name / "metrics.jsonl", time.monotonic() + LIMIT
        while process.poll() is None and time.monotonic() < limit:
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= 4:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self._finish(self._start(name, "--resume", str(self._folder / name)))
        return self._result(name)

    def _start(self, name: str, *options: str) -> "subprocess.Popen[str]":
        alone = ["--devices", "1"] if "--devices" not in options else []
        place = [] if "--resume" in options else ["--out", str(self._folder / name)]
        return subprocess.Popen(
            [sys.executable, "-m", "examples.train", "--quiet"]
            + [*self._options, *alone, *place, *options],
            env={**os.environ, "XLA_FLAGS": FLAGS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _finish(self, process: "subprocess.Popen[str]") -> None:
        _, words = process.communicate(timeout=LIMIT)
        if process.returncode:
            raise command.Stopped(f"the trainer failed: {words.strip()}", 1)

    def _result(self, name: str) -> Result:
        summary = json.loads((self._folder / name / "summary.json").read_text())
        with np.load(self._folder / name / "params.npz") as arrays:
            return Result(summary, dict(arrays))


def masks(options: Sequence[str], devices: int, parts: int = 1) -> list[np.ndarray]:
    """What each linen dropout of a training step makes of ones, on some devices.

    Args:
      options: Of the trainer.
      devices: Over which the batch is spread.
      parts: Micro-batches in which it is drawn.
    """
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from examples import build, config, loop
    from jdrop.linen import AlphaDropout, Dropout

    argv = [*options, "--flax", "linen", "--devices", str(devices)]
    plan = build.build(config.parse(argv))
    state = loop.create_state(plan.method, plan.key(0))
    images = plan.on_devices(plan.splits.train).images[: plan.batch_size]
    size = plan.batch_size // parts

    @jax.jit
    def draw(images: jax.Array, key: jax.Array, offset: jax.Array) -> list[jax.Array]:
        seen: list[jax.Array] = []

        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            drops = isinstance(context.module, Dropout | AlphaDropout)
            if not drops or context.method_name != "__call__":
                return call(*args, **kwargs)
            seen.append(call(jnp.ones_like(args[0]), *args[1:], **kwargs))
            return seen[-1]

        with nn.intercept_methods(intercept):
            images = plan.method.spread(images, "data")
            network = plan.method.network
            network.train(state.params, state.stats, images, key, offset=offset)
        return seen

    starts = range(0, plan.batch_size, size)
    drawn = [
        draw(images[i : i + size], plan.key(1), jnp.asarray(i, jnp.int32))
        for i in starts
    ]
    return [np.concatenate(layer) for layer in zip(*drawn, strict=True)]


class Row(NamedTuple):
    """A run beside another one: what agrees, and whether it is what is promised."""

    run: str
    beside: str
    masks: str
    weights: str
    loss: str
    kept: bool


def compare(trainer: Trainer, options: Sequence[str]) -> Iterator[Row]:
    """Runs the trainer in each way, and compares."""
    results, drawn = {}, masks(options, 1)
    for flax in ("linen", "nnx"):
        first = results[flax] = trainer.run(flax, "--flax", flax)
        again = trainer.run(f"{flax}-again", "--flax", flax)
        yield _row(f"{flax}, again", flax, first, again)
        resumed = trainer.run_killed(f"{flax}-resumed", "--flax", flax)
        yield _row(f"{flax}, resumed", flax, first, resumed)
    for count in (2, DEVICES):
        spread = trainer.run(f"{count}-devices", "--devices", str(count))
        results[f"{count} devices"] = spread
        same = _same_masks(drawn, masks(options, count))
        yield _row(f"{count} devices", "linen", results["linen"], spread, same)
    joined = trainer.run("processes", "--devices", "2", processes=2)
    yield _row("2 processes", "2 devices", results["2 devices"], joined)
    cut = trainer.run("micro-batches", "--accumulate", "4")
    same = _same_masks(drawn, masks(options, 1, parts=4))
    yield _row("4 micro-batches", "linen", results["linen"], cut, same)
    # Linen makes the key of a layer of its name, nnx of a counter.
    other = _row("nnx", "linen", results["linen"], results["nnx"], "by other keys")
    yield other._replace(weights="", kept=True)


def _same_masks(one: list[np.ndarray], other: list[np.ndarray]) -> str:
    same = len(one) == len(other) > 0 and all(map(np.array_equal, one, other))
    return "same bits" if same else "DIFFER"


def _row(run: str, beside: str, one: Result, other: Result, drawn: str = "") -> Row:
    """Compares two runs: bit for bit, or where masks are given within rounding."""
    weights = "same bits"
    if one.sha256 != other.sha256:
        pairs = [(array, other.weights.get(n)) for n, array in one.weights.items()]
        far = [np.abs(a - b).max() for a, b in pairs if b is not None]
        weights = f"within {max(far, default=np.nan):.0e}"
    losses = [result.summary["test_loss"] for result in (one, other)]
    change = abs(losses[1] / losses[0] - 1)
    loss = f"within {change:.0e}" if change else "same"
    exact = weights == "same bits" and not change
    kept = drawn == "same bits" and change < TOLERANCE if drawn else exact
    return Row(run, beside, drawn, weights, loss, kept)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Compares, and prints the table; returns the exit status, 1 if a promise fails."""
    argv = sys.argv[1:] if argv is None else argv

    def work(interrupts: command.Interrupts) -> None:
        if "--help" in argv or "-h" in argv:
            print(__doc__)
            return
        # Before JAX is imported: the masks are drawn on the same virtual devices.
        os.environ["XLA_FLAGS"] = FLAGS
        command.use_compilation_cache()
        console, rows = Console(stderr=True), []
        words = TextColumn("{task.completed}/{task.total} {task.description}")
        columns = (words, BarColumn(bar_width=20), TimeRemainingColumn(compact=True))
        silent = not console.is_terminal
        with (
            tempfile.TemporaryDirectory() as folder,
            Progress(*columns, console=console, disable=silent) as bar,
        ):
            task = bar.add_task("", total=ROWS)
            options = [*SHORT, *argv]
            for row in compare(Trainer(Path(folder), options), options):
                rows.append(row)
                bar.update(task, advance=1, description=row.run)
                if silent:
                    console.print(f"{len(rows)}/{ROWS} {row.run}")
        table = Table(
            "run", "beside", "masks", "weights", "test loss", "kept", box=None
        )
        for row in rows:
            table.add_row(*row[:-1], "yes" if row.kept else "NO")
        Console().print(table)
        if failed := [row.run for row in rows if not row.kept]:
            raise command.Stopped(f"not as promised: {', '.join(failed)}", 1)

    return command.run("reproduce", work)


if __name__ == "__main__":
    sys.exit(main())
