"""One run: data, network, training, files and report, in this order."""

import dataclasses
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

import jdrop
from examples import architecture, arguments, data, loop, plot, report
from examples.architecture import Architecture, Network
from examples.errors import BadInput, Diverged
from examples.loop import Batch, Epoch, State
from examples.optimizer import make_optimizer
from examples.options import Options, applies
from examples.record import Record, default_directory, to_json


def run(options: Options) -> dict[str, Any]:
    """Trains, and writes and prints what came of it.

    Args:
      options: What to train, on what, how, and where the files go.

    Returns:
      The summary, as in the last line of standard output.

    Raises:
      BadInput: If the data cannot be had, the directory cannot be written to, or the
        options do not fit the data.
      Diverged: If the loss is not finite after an epoch.
      KeyboardInterrupt: With a message, if the training is interrupted.
    """
    started = time.perf_counter()
    train, test, classes = _load(options)
    batch_size = _batch_size(options, len(train.labels))
    name = f"{options.dataset}-{options.model}-{options.flax}"
    directory = options.out or default_directory(name)
    with Record(directory, overwrite=options.overwrite) as record:
        spec = choose_architecture(options, classes)
        state = _initial_state(options, spec, train, batch_size)
        if not options.quiet:
            Console().print(report.layer_table(spec, state.params))
        state, history = _train(options, state, train, test, batch_size, record)
        summary = {
            **_results(state, history, batch_size),
            "train_size": len(train.labels),
            "test_size": len(test.labels),
            "seconds": round(time.perf_counter() - started, 3),
            **_settings(options, batch_size),
            "out": str(directory),
        }
        record.write("curves.png", plot.curves(history, _title(options)))
        record.write("summary.json", (to_json(summary) + "\n").encode())
    if not options.quiet:
        print(report.summary_in_words(summary))
    print(to_json(summary), flush=True)
    return summary


def _load(options: Options) -> tuple[Batch, Batch, int]:
    """Puts the data on the device, once."""
    loaded = data.load(
        options.dataset,
        train_size=options.train_size,
        data_dir=options.data_dir,
        download=options.download,
    )
    train = Batch(jnp.asarray(loaded.train_images), jnp.asarray(loaded.train_labels))
    test = Batch(jnp.asarray(loaded.test_images), jnp.asarray(loaded.test_labels))
    return train, test, loaded.classes


def _batch_size(options: Options, examples: int) -> int:
    if options.batch_size is None:
        usual = arguments.BATCH
        if options.dataset == "digits":
            usual = arguments.DIGITS_BATCH
        return min(usual, examples)
    if options.batch_size > examples:
        raise BadInput(
            f"--batch-size is at most the {examples} training examples; got "
            f"{options.batch_size}. Leave it out, or raise --train-size"
        )
    return options.batch_size


def choose_architecture(options: Options, classes: int) -> Architecture:
    """Makes the architecture that is asked for.

    Args:
      options: The model, its variant and its rates.
      classes: Width of the last layer.

    Returns:
      The architecture.
    """
    if options.model == "mlp":
        return architecture.mlp(classes, options.rate, options.input_rate)
    if options.model == "alpha_mlp":
        return architecture.alpha_mlp(classes, options.rate, options.variant)
    return architecture.cnn(
        classes, options.rate, options.channel_rate, options.batch_norm
    )


def _network(options: Options, spec: Architecture, shape: tuple[int, ...]) -> Network:
    if options.flax == "linen":
        from examples import models_linen

        return models_linen.network(spec, shape)
    from examples import models_nnx

    return models_nnx.network(spec, shape)


def _initial_state(
    options: Options, spec: Architecture, train: Batch, batch_size: int
) -> State:
    optimizer = make_optimizer(
        options.optimizer,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        steps=options.epochs * (len(train.labels) // batch_size),
    )
    network = _network(options, spec, train.images.shape[1:])
    return loop.create_state(network, optimizer, _key(options, "weights"))


def _key(options: Options, purpose: str) -> jax.Array:
    return jdrop.key_for(jax.random.key(options.seed), purpose)


def _train(
    options: Options,
    state: State,
    train: Batch,
    test: Batch,
    batch_size: int,
    record: Record,
) -> tuple[State, list[Epoch]]:
    history: list[Epoch] = []
    epochs = loop.fit(
        state,
        train,
        test,
        epochs=options.epochs,
        batch_size=batch_size,
        key=_key(options, "training"),
    )
    try:
        with report.progress(options.epochs, quiet=options.quiet) as show:
            for state, epoch in epochs:
                record.add(_row(state, epoch, len(history) + 1))
                history.append(epoch)
                show(len(history), epoch)
                if not math.isfinite(epoch.train.loss):
                    raise Diverged(
                        f"the loss is {epoch.train.loss} after epoch {len(history)}: "
                        f"lower --learning-rate, now {options.learning_rate:g}"
                    )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted after epoch {len(history)} of {options.epochs}; the metrics "
            f"of these are in {record.directory}"
        ) from None
    return state, history


def _row(state: State, epoch: Epoch, number: int) -> dict[str, Any]:
    """A line of metrics.jsonl; `batch_` is the mean on the way, with dropout."""
    row: dict[str, Any] = {"epoch": number, "step": int(state.step)}
    parts = {"batch": epoch.batches, "train": epoch.train, "test": epoch.test}
    for part, metrics in parts.items():
        # Seven digits are all that float32 has.
        row[f"{part}_loss"] = float(f"{metrics.loss:.7g}")
        row[f"{part}_accuracy"] = float(f"{metrics.accuracy:.7g}")
    return {**row, "seconds": round(epoch.seconds, 6)}


def _results(state: State, history: list[Epoch], batch_size: int) -> dict[str, Any]:
    seconds = sum(epoch.seconds for epoch in history)
    last = _row(state, history[-1], len(history))
    names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    return {
        **{name: last[name] for name in names},
        "steps": int(state.step),
        "params": report.count(state.params),
        "params_sha256": loop.params_sha256(state.params),
        "step_seconds": round(seconds, 3),
        "examples_per_second": round(int(state.step) * batch_size / seconds),
    }


def _settings(options: Options, batch_size: int) -> dict[str, Any]:
    """The options that decide the result, and the software that ran them."""
    elsewhere = ("train_size", "data_dir", "download", "out", "overwrite", "quiet")
    settings = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if applies(name, options) and name not in elsewhere
    }
    versions = {"jax": jax.__version__, "jdrop": jdrop.__version__}
    backend = {"backend": jax.default_backend(), **versions}
    return {**settings, "batch_size": batch_size, **backend}


def _title(options: Options) -> str:
    return (
        f"{options.model} ({options.flax}) on {options.dataset}, rate {options.rate:g}"
    )
