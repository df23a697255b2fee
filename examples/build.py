"""What a configuration stands for: data, network, method, budget."""

import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from examples import data, loop, optimizer, parallel
from examples.config import AUTO, Config
from examples.data import BadInput, Splits

NETWORKS = {"mlp": "MLP", "alpha_mlp": "SelfNormalizingMLP", "cnn": "CNN"}


class Run(NamedTuple):
    """What `build` makes: the splits as NumPy arrays, the method, the budget."""

    splits: Splits
    method: loop.Method
    steps: int
    every: int
    batch_size: int

    def on_devices(self, split: data.Split) -> loop.Batch:
        """A split on the devices of the run."""
        return loop.Batch(*parallel.everywhere(self.method.mesh, split))

    def key(self, seed: int) -> jax.Array:
        """The key of a seed on the devices of the run."""
        return jax.jit(lambda: self.method.spread(jax.random.key(seed)))()


def build(config: Config) -> Run:
    """Loads the data, and makes what learns them.

    Raises:
      BadInput: If the data cannot be had, or the options do not fit them.
    """
    splits = data.load(
        config.dataset,
        train_size=None if config.train_size == AUTO else config.train_size,
        validation_size=None
        if config.validation_size == AUTO
        else config.validation_size,
        data_dir=config.data_dir,
        download=config.download,
        quiet=config.quiet,
    )
    if config.patience != AUTO and splits.validation is None:
        raise BadInput(
            "--patience needs validation examples, and --train-size "
            f"{config.train_size} leaves none. Lower it"
        )
    steps, every, batch_size = _budget(config, len(splits.train.labels))
    schedule = optimizer.learning_rate_schedule(
        config.schedule, config.learning_rate, steps
    )
    learner = optimizer.make_optimizer(
        config.optimizer,
        schedule,
        decay=config.weight_decay,
        momentum=config.momentum,
        clip_norm=None if config.clip_norm == AUTO else config.clip_norm,
        largest_norm=None if config.max_norm == AUTO else config.max_norm,
    )
    devices = None if config.devices == AUTO else config.devices
    method = loop.Method(
        make_network(config, splits.train.images.shape[1:], splits.classes),
        learner,
        optimizer.rate_schedule(config.rate_schedule, steps),
        config.accumulate,
        parallel.make_mesh(devices, batch_size // config.accumulate),
    )
    return Run(splits, method, steps, every, batch_size)


def make_network(config: Config, shape: tuple[int, ...], classes: int) -> loop.Network:
    """Makes the network for images of a shape (height, width, channels)."""
    options: dict[str, Any] = {"classes": classes, "rates": config.rate}
    if config.dtype == "bfloat16":
        options["dtype"] = jnp.bfloat16
    if config.model == "mlp":
        options["input_rate"], options["units"] = config.input_rate, config.units
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


def dropout_after(config: Config) -> dict[str, str]:
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


def _budget(config: Config, examples: int) -> tuple[int, int, int]:
    """The number of steps, how many between evaluations, and examples a step."""
    usual = min(32 if config.dataset == "digits" else 128, examples)
    # A batch of any size that is not asked for is cut into equal parts.
    usual = max(usual // config.accumulate, 1) * config.accumulate
    batch_size = usual if config.batch_size == AUTO else config.batch_size
    if batch_size > examples:
        raise BadInput(
            f"--batch-size is at most the {examples} training examples; got "
            f"{batch_size}. Leave it out, or raise --train-size"
        )
    if batch_size % config.accumulate:
        raise BadInput(
            f"--accumulate divides a batch of {batch_size}; got {config.accumulate}. "
            "Pass a divisor"
        )
    epoch = examples // batch_size
    steps = config.steps if config.epochs == AUTO else epoch * config.epochs
    usual = max(epoch, -(-steps // 100))
    every = usual if config.eval_every == AUTO else config.eval_every
    return steps, every, batch_size
