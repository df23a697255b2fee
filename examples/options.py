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
    for option, applies, owner in (
        ("variant", given.model == "alpha_mlp", "--model alpha_mlp"),
        ("input_rate", given.model == "mlp", "--model mlp"),
        ("channel_rate", given.model == "cnn", "--model cnn"),
        ("batch_norm", given.model == "cnn", "--model cnn"),
        ("momentum", given.optimizer == "sgd", "--optimizer sgd"),
        ("data_dir", given.dataset != "digits", "a --dataset of tensorflow-datasets"),
        ("download", given.dataset != "digits", "a --dataset of tensorflow-datasets"),
    ):
        if not applies and getattr(given, option) is not None:
            flag = option.replace("_", "-")
            parser.error(f"--{flag} is for {owner}; leave it out, or choose that")
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
