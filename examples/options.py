"""The options of a run: read, completed by defaults, or refused."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples import arguments


@dataclass(frozen=True)
class Options:
    """What the command line asks for, defaults filled in; `--help` explains each.

    `train_size` and `batch_size` are None where the data set is to decide, `data_dir`
    and `out` where there is a default directory.
    """

    model: str
    flax: str
    variant: str
    batch_norm: bool
    rate: float
    input_rate: float
    channel_rate: float
    dataset: str
    train_size: int | None
    data_dir: str | None
    download: bool
    epochs: int
    batch_size: int | None
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    seed: int
    out: Path | None
    overwrite: bool
    quiet: bool


# What some options are for: the option that has to have one of these values.
OWNERS = {
    "variant": ("model", ("alpha_mlp",)),
    "input_rate": ("model", ("mlp",)),
    "channel_rate": ("model", ("cnn",)),
    "batch_norm": ("model", ("cnn",)),
    "momentum": ("optimizer", ("sgd",)),
    "data_dir": ("dataset", ("mnist", "fashion_mnist", "cifar10")),
    "download": ("dataset", ("mnist", "fashion_mnist", "cifar10")),
}


def applies(option: str, chosen: argparse.Namespace | Options) -> bool:
    """Whether an option changes anything, given the model, optimiser and data.

    Args:
      option: Its name.
      chosen: All options.

    Returns:
      True unless the option is for another choice.
    """
    if option not in OWNERS:
        return True
    name, values = OWNERS[option]
    return getattr(chosen, name) in values


def parse(argv: Sequence[str] | None = None) -> Options:
    """Reads the command line.

    Args:
      argv: The arguments; None means those of the process.

    Returns:
      The options.

    Raises:
      SystemExit: Status 2, after one line on standard error, if an argument is bad;
        status 0 after `--help`.
    """
    parser = arguments.parser()
    given = parser.parse_args(argv)
    for option in vars(given):
        if getattr(given, option) is not None and not applies(option, given):
            name, values = OWNERS[option]
            parser.error(
                f"--{option.replace('_', '-')} is for --{name} {' or '.join(values)}; "
                "leave it out, or choose that"
            )
    return Options(**{**vars(given), **_defaults(given)})


def _defaults(given: argparse.Namespace) -> dict[str, object]:
    """Values for what was not given, where they depend on the other options."""
    digits = given.dataset == "digits"
    relu = given.variant == "relu"
    rate = arguments.RELU_VARIANT_RATE if relu else arguments.RATE[given.model]
    part = arguments.INPUT_PART if given.model == "mlp" else 0.0
    learning_rate = arguments.LEARNING_RATE[given.model]
    if given.optimizer == "sgd":
        learning_rate = arguments.SGD_LEARNING_RATE
    defaults = {
        "variant": "selu",
        "batch_norm": False,
        "rate": rate,
        "input_rate": part * (rate if given.rate is None else given.rate),
        "channel_rate": 0.0,
        "download": False,
        "epochs": arguments.DIGITS_EPOCHS[given.model] if digits else arguments.EPOCHS,
        "learning_rate": learning_rate,
        "momentum": 0.9,
    }
    return {name: v for name, v in defaults.items() if getattr(given, name) is None}
