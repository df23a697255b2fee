"""The options of a run: read, refused, or completed by defaults."""

import dataclasses
import json
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
    **dict.fromkeys(("units", "input_rate"), ("model", "mlp")),
    "variant": ("model", "alpha_mlp"),
    **dict.fromkeys(("channel_rate", "padding", "batch_norm"), CNN),
    "norm_first": ("batch_norm", True),
    "momentum": ("optimizer", "sgd"),
    **dict.fromkeys(("data_dir", "download"), TFDS),
}
# What is said of one start, and what else may change when a run goes on: it decides no
# result, but for rounding.
START = {"resume", "out", "overwrite", "quiet", "dry_run", "download"}
START |= {"compilation_cache", "coordinator", "num_processes", "process_id"}
FREE = START | {"data_dir", "devices", "checkpoint_every"}


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
        metavar=" ".join((1 + many) * ["N" if kind is int else "X"]) + many * " ...",
        instance_from_str=read,
        is_instance=lambda value: True,
        str_from_instance=lambda v: [
            "auto" if one == AUTO else f"{one:.9g}" for one in (v if many else (v,))
        ],
    )


LAW = "a rate is the probability of dropping, one number in [0, 1]; got {}. Pass 0.5"
RATE, RATES = number(float, 0, 1, LAW), number(float, 0, 1, LAW, many=True)
LAW = "a whole number, 1 or more; got {}. Pass 1 at least"
WHOLE = number(int, 1, 2**31 - 1, LAW)
WHOLES = number(int, 1, 2**31 - 1, LAW, many=True)
COUNT = number(int, 0, 2**31 - 1, "a whole number, 0 or more; got {}. Pass 0 for none")
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
    units: Annotated[tuple[int, ...], WHOLES] = (256, 256)  # Of mlp: of each layer.
    # What layers compute in. Parameters, updates and losses stay float32.
    dtype: Literal["float32", "bfloat16"] = "float32"
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
    # Of all rates. early: falls to 0 in the first half of the steps. late: begins with
    # the second half. curriculum: rises from 0, a tenth of the way in to 63 %.
    rate_schedule: Literal["constant", "early", "late", "curriculum"] = "constant"
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
    # Hold N of the training examples out, the same in every run, and evaluate them on
    # the way; the test set is evaluated once, at the end. auto: a sixth, 10000 at most.
    validation_size: Annotated[int, COUNT] = AUTO
    # Stop when the validation loss has not fallen for N evaluations, and keep the
    # parameters at its lowest. auto: never.
    patience: Annotated[int, WHOLE] = AUTO
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
    # Micro-batches that a batch is cut into, to save memory. The masks are those of the
    # whole batch; BatchNorm sees one after the other.
    accumulate: Annotated[int, WHOLE] = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd with momentum.
    # Of the learning rate: along half a cosine to 0, after a rise in the first 5 % of
    # the steps or at once, or constant.
    schedule: Literal["cosine", "warmup_cosine", "constant"] = "cosine"
    # auto: mlp 0.003, alpha_mlp and cnn 0.001; with sgd 0.05.
    learning_rate: Annotated[float, POSITIVE] = AUTO
    momentum: Annotated[float, BELOW_1] = AUTO  # Of sgd. auto: 0.9.
    weight_decay: Annotated[float, FINITE] = 1e-4  # Of the weights, not of the biases.
    clip_norm: Annotated[float, POSITIVE] = AUTO  # Of the gradient. auto: any norm.
    # Of the weights that come into a unit, kept after each step; of Srivastava et al. 3
    # or 4. auto: any norm.
    max_norm: Annotated[float, POSITIVE] = AUTO
    # Of initial weights, order and dropout; the split stays.
    seed: Annotated[int, SEED] = 0
    out: Path | None = None  # Where the files go, in place of a directory under runs/.
    overwrite: bool = False  # Replace the files of a run that --out already holds.
    # Go on with the run in a directory from its newest checkpoint, bit for bit. Its
    # options are in its config.json, and need not be given again.
    resume: Path | None = None
    # Save a checkpoint at the first evaluation after every N steps. auto: after every
    # minute. One is always saved at the end, or when a signal ends the run.
    checkpoint_every: Annotated[int, WHOLE] = AUTO
    # Spread each batch over N devices; the masks stay the same. auto: as many as there
    # are in all processes and divide a micro-batch.
    devices: Annotated[int, WHOLE] = AUTO
    # HOST:PORT of process 0, where each of several processes is started with its
    # --process-id. auto: found out on Slurm and Cloud TPU, as the other two.
    coordinator: str | None = None
    num_processes: Annotated[int, WHOLE] = AUTO
    process_id: Annotated[int, COUNT] = AUTO
    quiet: bool = False  # Print nothing but the line of JSON.
    dry_run: bool = False  # Print the table of layers, and train nothing.
    # Keep no compiled programs in ~/.cache/jdrop ($XDG_CACHE_HOME).
    compilation_cache: bool = True

    def applies(self, option: str) -> bool:
        """Whether an option changes anything, given the model, optimiser and data."""
        owner, *values = OWNERS.get(option, ("model", self.model))
        return getattr(self, owner) in values

    def kept(self) -> dict[str, Any]:
        """The options that a run has for good, as `config.json` has them."""
        options = dataclasses.asdict(self).items()
        return {name: value for name, value in options if name not in START}


def flag(option: str) -> str:
    """How an option is written on the command line."""
    return f"--{option.replace('_', '-')}"


def parse(argv: Sequence[str]) -> Config:
    """Reads a command line, and completes it: by defaults, or by the run to resume.

    Raises:
      SystemExit: If tyro refuses an argument, with status 2; after `--help`, with 0.
      BadInput: If options do not go together, or are not those of the run.
    """
    config = _read(argv, Config())
    if config.resume is not None:
        return _resumed(config.resume, argv)
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
    if config.patience != AUTO and config.validation_size == 0:
        raise BadInput(
            "--patience needs validation examples; got --validation-size 0. Leave one "
            "of them out"
        )
    return _completed(config)


def _read(argv: Sequence[str], default: Config) -> Config:
    # Flags that a run to resume has on are given in pairs: one may say them once more.
    pairs = [tyro.conf.FlagCreatePairsOff] if default == Config() else []
    return tyro.cli(
        Config,
        prog="python -m examples.train",
        args=argv,
        default=default,
        config=(tyro.conf.DisallowNone, *pairs),
    )


def load(directory: Path) -> Config:
    """The options of the run in a directory.

    Raises:
      BadInput: If it holds none.
    """
    try:
        options = json.loads((directory / "config.json").read_bytes())["options"]
        # JSON knows no tuples.
        lists = {n: tuple(v) for n, v in options.items() if isinstance(v, list)}
        return Config(**{**options, **lists, "out": directory})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"{directory} holds no run of this version (config.json: "
            f"{type(error).__name__}): name the directory that a run has printed"
        ) from error


def _resumed(directory: Path, argv: Sequence[str]) -> Config:
    known = load(directory)
    config = _completed(_read(argv, known))
    for field in dataclasses.fields(config):
        now, before = getattr(config, field.name), getattr(known, field.name)
        if field.name not in FREE and now != before:
            raise BadInput(
                f"{flag(field.name)} is {_spelled(before)} in {directory}; got "
                f"{_spelled(now)}. A run goes on with what it began with: leave it "
                "out, or start another one"
            )
    return dataclasses.replace(config, out=directory, resume=directory)


def _spelled(option: Any) -> Any:
    return "auto" if option == AUTO else option


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
    layers = {"mlp": len(config.units), "alpha_mlp": 20, "cnn": 2}[config.model]
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
