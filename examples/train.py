"""The trainer: `python -m examples.train --help`; README.md has times and scores."""

import dataclasses
import hashlib
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples import command
from examples.command import Interrupts, Stopped
from examples.data import BadInput

if TYPE_CHECKING:
    from examples.build import Run
    from examples.config import Config
    from examples.training import Training

MODULE = "examples.train"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (None: that of the process); returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv

    def work(interrupts: Interrupts) -> None:
        from examples.config import parse

        run(parse(argv), argv, interrupts)

    return command.run("train", work)


def run(config: "Config", argv: Sequence[str], interrupts: Interrupts) -> None:
    """Trains, and writes and prints what came of it.

    Raises:
      BadInput: If the data cannot be had, the directory cannot be written to, or the
        options do not fit the data or the run that is to go on.
      Stopped: If the run ended early, or a file could not be written.
    """
    # Not before the arguments are known to be good: JAX takes a second to import.
    import jax

    from examples import build, loop, parallel, report
    from examples.config import AUTO
    from examples.training import Training

    started = time.perf_counter()
    if config.coordinator is not None:
        given = (config.num_processes, config.process_id)
        numbers = (None if number == AUTO else number for number in given)
        parallel.connect(config.coordinator, *numbers)
    if config.compilation_cache:
        command.use_compilation_cache()
    plan = build.build(config)
    quiet = config.quiet or not parallel.leads()
    create = partial(loop.create_state, plan.method)
    params = jax.eval_shape(create, jax.random.key(0)).params
    if config.dry_run or not quiet:
        report.print_layers(build.dropout_after(config), params)
    if config.dry_run:
        return
    reader = "scikit-learn" if config.dataset == "digits" else "tensorflow-datasets"
    about = command.provenance(MODULE, argv, reader)
    out = _claim(config, about)
    try:
        with interrupts.held_back("saving after these steps"):
            training = Training(plan, config, out)
            with report.progress(plan.steps, quiet=quiet) as show:
                message, status = training.train(interrupts, show)
            about["seconds"] = round(time.perf_counter() - started, 3)
            problems = _publish(plan, config, training, out, ended=message, **about)
    except Stopped as stop:
        message, status = stop.args
        metrics = out / "metrics.jsonl"
        if parallel.leads() and not (config.resume or metrics.stat().st_size):
            # Nothing was learnt, so the directory is free for another run.
            report.vacate(out)
            raise Stopped(f"{message} before the first evaluation", status) from None
        raise Stopped(f"{message}; --resume {out} goes on", status) from None
    if status > 128:
        message += f"; what was learnt is in {out}, and --resume {out} goes on"
    if status or problems:
        words = [message, *problems] if status else problems
        raise Stopped("; ".join(words), status or 1)


def _publish(
    plan: "Run", config: "Config", training: "Training", out: Path, **about: Any
) -> list[str]:
    """Looks at the test set, writes and prints the results; returns what went wrong."""
    import jax

    from examples import loop, parallel, report

    params, stats = training.best
    best = training.state.replace(params=params, stats=stats)
    test = loop.evaluate(best, plan.on_devices(plan.splits.test))
    seconds = sum(row["seconds"] for row in training.history)
    row, steps = training.best_row(), int(training.state.step)
    weights = report.weights(params)
    splits = ("train", "validation", "test")
    summary = {
        **{name: value for name, value in row.items() if name in report.RESULTS},
        **loop.as_row({"test": test}),
        "steps": steps,
        "best_step": row["step"],
        "params": sum(array.size for array in jax.tree.leaves(params)),
        "params_sha256": hashlib.sha256(weights).hexdigest(),
        "step_seconds": round(seconds, 3),
        "examples_per_second": round(steps * plan.batch_size / max(seconds, 1e-6)),
        **{f"{name}_size": plan.splits.size(name) for name in splits},
        "batch_size": plan.batch_size,
        "devices": plan.method.mesh.size if plan.method.mesh else 1,
        "processes": jax.process_count(),
        **_settings(config),
        **about,
        "out": str(out),
    }
    if not parallel.leads():
        return []
    curves = partial(report.curves, training.history, _name(config, ", "))
    return report.publish(out, summary, weights, curves, quiet=config.quiet)


def _claim(config: "Config", about: dict[str, Any]) -> Path:
    """The directory of the run, which every process then has; or the error."""
    import jax

    from examples import parallel, report

    if config.out is None and jax.process_count() > 1:
        raise BadInput("several processes need one --out; got none. Name a directory")
    out, problem = config.out or Path(), None
    if parallel.leads() and config.resume is None:
        content = report.to_json({"options": config.kept(), **about})
        try:
            name = _name(config, "-")
            out = report.claim(config.out, name, content, overwrite=config.overwrite)
        except BadInput as error:
            problem = error
    if parallel.largest(problem is not None):
        raise problem or BadInput("process 0 could not begin: see what it says")
    return out


def _name(config: "Config", separator: str) -> str:
    return separator.join((config.dataset, config.model, config.flax))


def _settings(config: "Config") -> dict[str, Any]:
    """The options that decide the result, but those that the summary has as numbers."""
    from examples.config import AUTO, FREE

    told = {"train_size", "validation_size", "steps", "epochs", "eval_every"}
    return {
        name: None if value == AUTO else value
        for name, value in dataclasses.asdict(config).items()
        if name not in FREE | told | {"batch_size"} and config.applies(name)
    }


if __name__ == "__main__":
    sys.exit(main())
