"""The options of a run: read, refused, or completed by defaults."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from examples.data import BadInput

# A default that depends on other options; no law allows the number.
AUTO = -1
# Learning rate, steps on digits, and rate: of Srivastava et al. 2014, the lower one of
# Klambauer et al. 2017, and the usual one on CIFAR-10.
DEFAULTS = {
    "mlp": (3e-3, 3700, 0.5),
    "alpha_mlp": (1e-3, 3700, 0.05),
    "cnn": (1e-3, 740, 0.25),
}
CNN, TFDS = ("model", "cnn"), ("dataset", "mnist", "fashion_mnist", "cifar10")
# What some options are for: another option, and the values that it has to have.
OWNERS: dict[str, tuple[Any, ...]] = {
    "input_rate": ("model", "mlp"),
    "variant": ("model", "alpha_mlp"),
    **dict.fromkeys(("channel_rate", "padding", "batch_norm"), CNN),
    "norm_first": ("batch_norm", True),
    "momentum": ("optimizer", "sgd"),
    **dict.fromkeys(("data_dir", "download"), TFDS),
}


def number(kind: type, low: float, high: float, law: str, many: bool = False) -> Any:
    """How tyro reads a number, or many: an error has the law, the value, the remedy."""

    def read(texts: list[str]) -> Any:
        values = []
        for text in texts:
            try:
                values.append(kind(text))
            except ValueError:
                values.append(math.nan)
            # NaN is in no interval.
            if not low <= values[-1] <= high:
                raise ValueError(law.format(text))
        return tuple(values) if many else values[0]

    return PrimitiveConstructorSpec(
        nargs="*" if many else 1,
        metavar="R [R ...]" if many else "N" if kind is int else "X",
        instance_from_str=read,
        is_instance=lambda value: True,
        str_from_instance=lambda v: ["auto" if v in (AUTO, (AUTO,)) else f"{v:g}"],
    )


LAW = "a rate is the probability of dropping, one number in [0, 1]; got {}. Pass 0.5"
RATE, RATES = number(float, 0, 1, LAW), number(float, 0, 1, LAW, many=True)
WHOLE = number(int, 1, 2**31 - 1, "a whole number, 1 or more; got {}. Pass 1 at least")
SEED = number(int, 0, 2**32 - 1, "a whole number in [0, 2^32); got {}. Pass 0")
FINITE = number(float, 0, sys.float_info.max, "finite, 0 or more; got {}. Pass 0")
POSITIVE = number(float, 1e-300, 1e300, "positive and finite; got {}. Pass 0.001")
ALIAS = tyro.conf.arg(aliases=["--rates"])
BELOW_1 = number(float, 0, math.nextafter(1, 0), "in [0, 1); got {}. Pass 0.9")


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a network with jdrop's dropout on real data.

    The default needs no network: an MLP on the 8x8 digits that scikit-learn bundles.
    The last line of standard output is the summary as JSON; progress goes to standard
    error. Exit status: 0 done, 1 the loss diverged or a file could not be written, 2
    bad input, 128 + N ended by signal N, as 130 by Ctrl-C: what was learnt is written.
    """

    # mlp: 256, 256 units, ReLU. alpha_mlp: 20 layers of 100, SELU, alpha dropout. cnn:
    # convolutions of 3x3 pixels and 32, 64, 128 channels, each with 2x2 max-pooling,
    # then 512 units.
    model: Literal["mlp", "alpha_mlp", "cnn"] = "mlp"
    flax: Literal["linen", "nnx"] = "linen"  # The module system of Flax.
    # Probability of dropping a hidden unit: one for all layers, or one for each; in cnn
    # before and after the 512 units. auto: mlp 0.5, alpha_mlp 0.05, its relu variant at
    # 0.2, cnn 0.25.
    rate: Annotated[tuple[float, ...], RATES, ALIAS] = (AUTO,)
    # Of mlp: probability of dropping a pixel. auto: of a single --rate 0.4 times, so
    # usually 0.2; beside a rate for each layer 0.
    input_rate: Annotated[float, RATE] = AUTO
    # Of cnn: probability of dropping a whole channel after a convolution, one for all
    # or one for each; 0.2 if given without a number. auto: 0.
    channel_rate: Annotated[tuple[float, ...], RATES] = (AUTO,)
    # Of alpha_mlp. relu: ReLU, Xavier uniform weights, alpha dropout after the first
    # layer only.
    variant: Literal["selu", "relu"] = "selu"
    # Of cnn, in convolution and pooling. valid: 512 features are left of 32x32 pixels.
    padding: Literal["same", "valid"] = "same"
    # Of cnn: convolution, BatchNorm, ReLU, pooling, dropout.
    batch_norm: bool = False
    # The other order: BatchNorm, convolution, ReLU, pooling, dropout. BatchNorm then
    # sees what channel dropout left, whose variance is another than in evaluation.
    norm_first: bool = False
    # digits is bundled; tensorflow-datasets reads the others.
    dataset: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = "digits"
    # Train on N examples, each class with its share, the same in every run. auto: all.
    train_size: Annotated[int, WHOLE] = AUTO
    # Where tensorflow-datasets keeps its data, in place of ~/tensorflow_datasets.
    data_dir: str | None = None
    download: bool = False  # Let it download and prepare what it does not find there.
    # Steps of training, whatever the size of the data. auto: on digits mlp 3700,
    # alpha_mlp 3700, cnn 740; else 10000.
    steps: Annotated[int, WHOLE] = AUTO
    epochs: Annotated[int, WHOLE] = AUTO  # Train N epochs, in place of --steps.
    # Evaluate after every N steps. auto: an epoch, a hundredth of the run at least.
    eval_every: Annotated[int, WHOLE] = AUTO
    # What does not fill a last batch waits for another epoch's order. auto: on digits
    # 32, else 128; at most the training set.
    batch_size: Annotated[int, WHOLE] = AUTO
    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd with momentum.
    # Of the learning rate: along half a cosine to 0, or constant.
    schedule: Literal["cosine", "constant"] = "cosine"
    # auto: mlp 0.003, alpha_mlp and cnn 0.001; with sgd 0.05.
    learning_rate: Annotated[float, POSITIVE] = AUTO
    momentum: Annotated[float, BELOW_1] = AUTO  # Of sgd. auto: 0.9.
    weight_decay: Annotated[float, FINITE] = 1e-4  # Of the weights, not of the biases.
    # Of initial weights, order and dropout; the split stays.
    seed: Annotated[int, SEED] = 0
    out: Path | None = None  # Where the files go, in place of a directory under runs/.
    overwrite: bool = False  # Replace the files of a run that --out already holds.
    quiet: bool = False  # Print nothing but the line of JSON.
    dry_run: bool = False  # Print the table of layers, and train nothing.
    # Keep no compiled programs in ~/.cache/jdrop ($XDG_CACHE_HOME).
    compilation_cache: bool = True

    def applies(self, option: str) -> bool:
        """Whether an option changes anything, given the model, optimiser and data."""
        owner, *values = OWNERS.get(option, ("model", self.model))
        return getattr(self, owner) in values


def flag(option: str) -> str:
    """How an option is written on the command line."""
    return f"--{option.replace('_', '-')}"


def parse(argv: Sequence[str] | None = None) -> Config:
    """Reads the command line (None: that of the process), and completes it.

    Raises:
      SystemExit: If tyro refuses an argument, with status 2; after `--help`, with 0.
      BadInput: If options do not go together.
    """
    markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    prog = "python -m examples.train"
    config = tyro.cli(Config, prog=prog, args=argv, config=markers)
    for field in dataclasses.fields(config):
        given = getattr(config, field.name) != field.default
        if given and not config.applies(field.name):
            owner, *values = OWNERS[field.name]
            wanted = "" if True in values else f" {' or '.join(values)}"
            raise BadInput(
                f"{flag(field.name)} is for {flag(owner)}{wanted}; leave it out, or "
                "choose that"
            )
    if AUTO not in (config.epochs, config.steps):
        raise BadInput("--epochs stands in for --steps; leave one of them out")
    return _completed(config)


def _completed(config: Config) -> Config:
    """Fills in every `auto` that does not depend on the data."""
    learning_rate, steps, usual = DEFAULTS[config.model]
    relu = config.variant == "relu"
    rates = ((0.2,) if relu else (usual,)) if config.rate == (AUTO,) else config.rate
    chosen: dict[str, Any] = {
        "input_rate": 0.4 * rates[0] if len(rates) == 1 else 0.0,
        "learning_rate": 0.05 if config.optimizer == "sgd" else learning_rate,
        "momentum": 0.9,
        "steps": steps if config.dataset == "digits" else 10_000,
    }
    chosen = {name: v for name, v in chosen.items() if getattr(config, name) == AUTO}
    layers = 20 if config.model == "alpha_mlp" else 2
    if len(rates) == 1:
        rates = (*rates, *19 * (0.0,)) if relu else layers * rates
    channels = (0.0,) if config.channel_rate == (AUTO,) else config.channel_rate
    channels = 3 * (channels or (0.2,)) if len(channels) < 2 else channels
    for option, given, count in (
        ("rate", rates, layers),
        ("channel_rate", channels, 3),
    ):
        if len(given) != count:
            raise BadInput(
                f"{flag(option)} takes one rate for all layers of {config.model} or "
                f"{count}, one for each; got {len(given)}"
            )
    return dataclasses.replace(config, **chosen, rate=rates, channel_rate=channels)
