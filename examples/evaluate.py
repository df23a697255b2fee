"""Evaluates a run of the trainer: `python -m examples.evaluate RUN --samples 100`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from examples import build, calibration, command, config, loop, report
from examples.data import BadInput
from examples.training import Training
from jdrop import key_for, mc_predict


@dataclasses.dataclass(frozen=True)
class Options:
    """Evaluate what a run of the trainer has learnt, from its newest checkpoint.

    The last line of standard output is the result as JSON; it is also written to
    `evaluation.json` in the directory of the run.
    """

    run: Annotated[Path, tyro.conf.Positional]  # The directory of the run.
    split: Literal["test", "validation", "train"] = "test"  # What to evaluate.
    # Beside the pass without dropout, average the probabilities of N with it, which is
    # Monte-Carlo dropout.
    samples: Annotated[int, config.COUNT] = 0
    seed: Annotated[int, config.SEED] = 0  # Of the masks.
    data_dir: str | None = None  # As in the trainer, where the data has moved.
    quiet: bool = False  # Print nothing but the line of JSON.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (None: that of the process); returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv

    def work(interrupts: command.Interrupts) -> None:
        markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
        prog = "python -m examples.evaluate"
        run(tyro.cli(Options, prog=prog, args=argv, config=markers), argv)

    return command.run("evaluate", work)


def run(options: Options, argv: Sequence[str]) -> None:
    """Evaluates, prints and writes the scores.

    Raises:
      BadInput: If there is no such run, it has no checkpoint or no such examples.
      Stopped: If the result could not be written.
    """
    command.use_compilation_cache()
    settings = config.load(options.run)
    moved = options.data_dir or settings.data_dir
    settings = dataclasses.replace(
        settings, resume=options.run, devices=config.AUTO, data_dir=moved
    )
    plan = build.build(settings)
    training = Training(plan, settings, options.run)
    if not int(training.state.step):
        raise BadInput(
            f"no checkpoint in {options.run}: it ended before its first one. Train "
            f"it with --resume {options.run}"
        )
    split = getattr(plan.splits, options.split)
    if split is None:
        raise BadInput(
            f"--split validation: {options.run} held no examples out. Evaluate test"
        )
    batch = plan.on_devices(split)
    passes = {"without dropout": 0} | (
        {"Monte-Carlo": options.samples} if options.samples else {}
    )
    key = key_for(plan.key(options.seed), "evaluation")
    rows = {
        name: calibration.score(
            _probabilities(training, batch, n, key, quiet=options.quiet), batch.labels
        )
        for name, n in passes.items()
    }
    numbers = ("accuracy", "loss", "calibration_error", "entropy")
    result = {
        name: {n: float(f"{getattr(score, n):.7g}") for n in numbers}
        for name, score in rows.items()
    }
    if not options.quiet:
        table = Table("", "accuracy", "loss", "calibration error", "entropy", box=None)
        for name, row in result.items():
            table.add_row(
                name, f"{row['accuracy']:.2%}", *(f"{row[n]:.4f}" for n in numbers[1:])
            )
        Console().print(table)
    summary = {
        "split": options.split,
        "examples": len(batch.labels),
        "step": int(training.best_row()["step"]),
        "samples": options.samples,
        "scores": result,
        **command.provenance("examples.evaluate", argv),
    }
    content = report.to_json(summary)
    problem = report.write(options.run / "evaluation.json", content)
    print(content.decode(), end="", flush=True)
    if problem:
        raise command.Stopped(problem, 1)


def _probabilities(
    training: Training, batch: loop.Batch, samples: int, key: jax.Array, *, quiet: bool
) -> jax.Array:
    """The probabilities of the classes, (examples, classes), a part after the other."""
    network = training.state.method.network
    starts = range(0, len(batch.labels), loop.EVALUATION_BATCH)
    console = Console(stderr=True)
    bar = track(
        starts,
        "evaluating",
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )

    def sample(key: jax.Array, best: Any, offset: jax.Array, images: jax.Array) -> Any:
        return network.sample(*best, images, key, offset)

    predict = jax.jit(network.predict)
    parts = []
    for start in bar:
        images = batch.images[start : start + loop.EVALUATION_BATCH]
        if samples:
            arguments = (training.best, jnp.int32(start), images)
            # One sample after the other: a part of the data fills the machine.
            seen = mc_predict(
                sample, key, samples, *arguments, outputs="logits", chunk_size=1
            )
            parts.append(seen.mean)
        else:
            logits = predict(*training.best, images).astype(jnp.float32)
            parts.append(jax.nn.softmax(logits))
    return jnp.concatenate(parts)


if __name__ == "__main__":
    sys.exit(main())
