"""The trainer: `python -m examples.train --help`; README.md has times and scores."""

import contextlib
import dataclasses
import hashlib
import importlib
import io
import math
import os
import platform
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples import data
from examples.data import BadInput

if TYPE_CHECKING:
    from examples.config import Config

NETWORKS = {"mlp": "MLP", "alpha_mlp": "SelfNormalizingMLP", "cnn": "CNN"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Of the options, what decides no result or is told in another way.
UNTOLD = {"train_size", "data_dir", "download", "steps", "epochs", "eval_every"}
UNTOLD |= {"batch_size", "out", "overwrite", "quiet", "dry_run", "compilation_cache"}


class Stopped(BaseException):
    """The run ends early: the message, and the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (None: that of the process); returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    # A path may hold what cannot be encoded.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _signals_stop():
            from examples.config import parse

            run(parse(argv), argv)
        return 0
    except BadInput as error:
        message, status = str(error), 2
    except ImportError as error:
        needs = "pip install --group examples (pip 25.1 or newer) in the clone"
        message, status = f"{error}; the trainers need {needs}", 2
    except Stopped as stop:
        message, status = stop.args
    # Nobody may be there to read it.
    with contextlib.suppress(OSError):
        print(f"train: error: {message}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    """Makes signals that end a run raise; those that are ignored stay ignored."""

    def stop(number: int, frame: Any) -> None:
        # A terminal that is gone must not fail what is still to be written.
        for fd in terminals:
            if not os.isatty(fd):
                os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        raise Stopped(f"interrupted by {signal.Signals(number).name}", 128 + number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]
    try:
        for number in heeded:
            signal.signal(number, stop)
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def run(config: "Config", argv: Sequence[str]) -> None:
    """Trains, and writes and prints what came of it.

    Raises:
      BadInput: If the data cannot be had, the directory cannot be written to, or the
        options do not fit the data.
      Stopped: If the run ended early, or a file could not be written.
    """
    # Not before the arguments are known to be good: JAX takes a second to import.
    import jax
    import jax.numpy as jnp

    from examples import loop, report
    from jdrop import key_for

    started = time.perf_counter()
    if config.compilation_cache:
        _use_compilation_cache()
    *splits, classes = data.load(
        config.dataset,
        train_size=config.train_size if config.train_size > 0 else None,
        data_dir=config.data_dir,
        download=config.download,
        quiet=config.quiet,
    )
    train, test = (loop.Batch(*map(jnp.asarray, split)) for split in splits)
    steps, every, batch_size = budget = _budget(config, len(train.labels))
    network = _network(config, train.images.shape[1:], classes)
    key = jax.random.key(config.seed)
    abstract, _ = jax.eval_shape(network.init, key)
    if config.dry_run or not config.quiet:
        report.print_layers(_dropout(config), abstract)
    if config.dry_run:
        return
    out = report.claim(config.out, _name(config, "-"), overwrite=config.overwrite)
    rates = config.learning_rate, config.weight_decay, config.momentum
    optimizer = loop.make_optimizer(config.optimizer, config.schedule, *rates, steps)
    history: list[report.Row] = []
    message, status = "", 0
    try:
        with report.progress(steps, quiet=config.quiet) as show:
            state = loop.create_state(network, optimizer, key_for(key, "weights"))
            key = key_for(key, "training")
            for new, row in loop.fit(state, train, test, key, *budget):
                state = new
                history.append(row)
                show(row)
                _check(row, out / "metrics.jsonl", config)
    except Stopped as stop:
        message, status = stop.args
        if not history:
            # Nothing was learnt, so the directory is free for another run.
            (out / "metrics.jsonl").unlink(missing_ok=True)
            raise Stopped(f"{message} before the first evaluation", status) from None
    seconds = sum(row["seconds"] for row in history)
    weights = report.weights(state.params)
    summary = {
        **{name: history[-1][name] for name in report.RESULTS},
        "ended": message or "complete",
        "steps": int(state.step),
        "params": sum(array.size for array in jax.tree.leaves(abstract)),
        "params_sha256": hashlib.sha256(weights).hexdigest(),
        "step_seconds": round(seconds, 3),
        "examples_per_second": round(int(state.step) * batch_size / max(seconds, 1e-6)),
        "train_size": len(train.labels),
        "test_size": len(test.labels),
        "seconds": round(time.perf_counter() - started, 3),
        "batch_size": batch_size,
        **_provenance(config, argv),
        "out": str(out),
    }
    # The results first: a picture takes longer, and may fail.
    problems = [
        report.write(out / "summary.json", report.to_json(summary)),
        report.say(summary, quiet=config.quiet),
        report.write(out / "params.npz", weights),
        report.write(out / "curves.png", report.curves(history, _name(config, ", "))),
    ]
    if status > 128:
        message += (
            f" after step {int(state.step)} of {steps}; what was learnt is in {out}"
        )
    if message or any(problems):
        raise Stopped("; ".join(filter(None, [message, *problems])), status or 1)


def _check(row: dict[str, float], path: Path, config: "Config") -> None:
    """Keeps the metrics of an evaluation, and stops the run if it makes no sense."""
    from examples import report

    if problem := report.write(path, report.to_json(row), append=True):
        raise Stopped(problem, 1)
    if not math.isfinite(row["train_loss"]):
        raise Stopped(
            f"the loss is {row['train_loss']} after step {row['step']}: lower "
            f"--learning-rate, now {config.learning_rate:g}",
            1,
        )


def _name(config: "Config", separator: str) -> str:
    return separator.join((config.dataset, config.model, config.flax))


def _use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache, unless JAX was told where."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "jdrop"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # A cache that cannot be written to, or is broken, costs time and nothing else.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation")


def _budget(config: "Config", examples: int) -> tuple[int, int, int]:
    """The number of steps, how many between evaluations, and examples a step."""
    usual = min(32 if config.dataset == "digits" else 128, examples)
    batch_size = config.batch_size if config.batch_size > 0 else usual
    if batch_size > examples:
        raise BadInput(
            f"--batch-size is at most the {examples} training examples; got "
            f"{batch_size}. Leave it out, or raise --train-size"
        )
    epoch = examples // batch_size
    steps = epoch * config.epochs if config.epochs > 0 else config.steps
    usual = max(epoch, -(-steps // 100))
    return steps, config.eval_every if config.eval_every > 0 else usual, batch_size


def _network(config: "Config", shape: tuple[int, ...], classes: int) -> Any:
    """Makes the network for images of a shape (height, width, channels)."""
    import jax

    options: dict[str, Any] = {"classes": classes, "rates": config.rate}
    if config.model == "mlp":
        options["input_rate"] = config.input_rate
    elif config.variant == "relu":
        options["activation"] = jax.nn.relu
        options["kernel_init"] = jax.nn.initializers.xavier_uniform()
    elif config.model == "cnn":
        options["channel_rates"] = config.channel_rate
        options["padding"] = config.padding.upper()
        place = "before" if config.norm_first else "after"
        options["norm"] = place if config.batch_norm else "none"
        if config.padding == "valid" and min(shape[:2]) < 22:
            raise BadInput(
                "--padding valid leaves nothing of images below 22x22; got "
                f"{shape[0]}x{shape[1]}. Leave it out"
            )
    models = importlib.import_module(f"examples.models_{config.flax}")
    return models.network(NETWORKS[config.model], shape, **options)


def _dropout(config: "Config") -> dict[str, str]:
    """The layers in the order of the computation, and the dropout after each."""
    rows: dict[str, tuple[str, float]] = {}
    norm = ["norm"] if config.batch_norm else []
    block = [*norm, "conv"] if config.norm_first else ["conv", *norm]
    for i, rate in enumerate(config.channel_rate if config.model == "cnn" else ()):
        rows |= {f"{layer}_{i}": ("", 0.0) for layer in block}
        rows[f"{block[-1]}_{i}"] = ("channel dropout", rate)
    first = config.input_rate if config.model == "mlp" else 0.0
    flat, *hidden = config.rate if config.model == "cnn" else (first, *config.rate)
    rows["flat"] = ("dropout", flat)
    kind = "alpha dropout" if config.model == "alpha_mlp" else "dropout"
    rows |= {f"hidden_{i}": (kind, rate) for i, rate in enumerate(hidden)}
    rows["logits"] = ("", 0.0)
    return {
        name: f"{kind} {rate:g}" * (rate > 0) for name, (kind, rate) in rows.items()
    }


def _provenance(config: "Config", argv: Sequence[str]) -> dict[str, Any]:
    """The options that decide the result, and the software that ran them."""
    import jax

    import jdrop

    options = dataclasses.asdict(config).items()
    settings = {n: v for n, v in options if n not in UNTOLD and config.applies(n)}
    reader = "scikit-learn" if config.dataset == "digits" else "tensorflow-datasets"
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", reader)
    return {
        **settings,
        "backend": jax.default_backend(),
        "stream": jdrop.STREAM,
        "versions": {
            "python": platform.python_version(),
            "jdrop": jdrop.__version__,
            **{name: version(name) for name in packages},
        },
        "command": shlex.join(["python", "-m", "examples.train", *argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    sys.exit(main())
