"""The command line: flags, defaults, help, and the errors of single values."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

# Rate of the hidden layers. mlp: Srivastava et al. 2014; alpha_mlp: the lower of the
# two in Klambauer et al. 2017; cnn: the usual network for CIFAR-10.
RATE = {"mlp": 0.5, "alpha_mlp": 0.05, "cnn": 0.25}
RELU_VARIANT_RATE = 0.2
# The rate of the input, as a part of --rate: 0.2 where the hidden layers have 0.5.
INPUT_PART = 0.4
CHANNEL_RATE = 0.2
# Chosen on the digits, by splits other than the one that is trained on.
LEARNING_RATE = {"mlp": 3e-3, "alpha_mlp": 1e-3, "cnn": 1e-3}
SGD_LEARNING_RATE = 0.05
DIGITS_EPOCHS = {"mlp": 100, "alpha_mlp": 50, "cnn": 20}
EPOCHS = 20
DIGITS_BATCH = 32
BATCH = 128


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints one line, where argparse would print the usage before it."""
        print(f"train: error: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """Makes the parser; what is not given is None where its default is not fixed.

    Returns:
      A parser whose errors are one line on standard error.
    """
    parser = _Parser(
        prog="python -m examples.train",
        description="Train a network with jdrop's dropout on real data. The default "
        "needs no network: an MLP on the 8x8 digits that scikit-learn bundles.",
        epilog="The last line of standard output is one JSON object with the results; "
        "progress goes to standard error. Exit status: 0 done, 1 the loss diverged or "
        "the disk is full, 2 bad input, 130 interrupted.",
        allow_abbrev=False,
    )
    _add_network(parser)
    _add_dropout(parser)
    _add_data(parser)
    _add_training(parser)
    _add_output(parser)
    return parser


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--model",
        choices=tuple(RATE),
        default="mlp",
        help="mlp: 256, 256 units, ReLU. alpha_mlp: 20 layers of 100, SELU, alpha "
        "dropout. cnn: 3x3 convolutions of 32, 64, 128 channels, then 512 units "
        "(default: mlp)",
    )
    group.add_argument(
        "--flax",
        choices=("linen", "nnx"),
        default="linen",
        help="the module system of Flax; both draw the same masks (default: linen)",
    )
    group.add_argument(
        "--variant",
        choices=("selu", "relu"),
        help="of alpha_mlp; relu: ReLU, Xavier uniform weights, alpha dropout after "
        "the first layer only (default: selu)",
    )
    group.add_argument(
        "--batch-norm",
        action="store_true",
        default=None,
        help="of cnn: BatchNorm before each convolution",
    )


def _add_dropout(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("dropout")
    group.add_argument(
        "--rate",
        type=_rate,
        metavar="R",
        help="probability of dropping a hidden unit, 0 to 1: after each hidden layer; "
        "in cnn before and after the 512 units (default: mlp 0.5, alpha_mlp 0.05, its "
        "relu variant 0.2, cnn 0.25)",
    )
    group.add_argument(
        "--input-rate",
        type=_rate,
        metavar="R",
        help=f"of mlp: probability of dropping a pixel (default: {INPUT_PART} times "
        "--rate, so 0.2, and 0 without dropout)",
    )
    group.add_argument(
        "--channel-rate",
        type=_rate,
        nargs="?",
        const=CHANNEL_RATE,
        metavar="R",
        help="of cnn: probability of dropping a whole channel after each convolution "
        f"(default: 0; {CHANNEL_RATE} if given without a number)",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataset",
        choices=("digits", "mnist", "fashion_mnist", "cifar10"),
        default="digits",
        help="digits is bundled; the others are read by tensorflow-datasets "
        "(default: digits)",
    )
    group.add_argument(
        "--train-size",
        type=_positive_int,
        metavar="N",
        help="train on N examples, each class with its share, to study overfitting; "
        "the same N in every run (default: all)",
    )
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where tensorflow-datasets keeps its data (default: its own, "
        "~/tensorflow_datasets)",
    )
    group.add_argument(
        "--download",
        action="store_true",
        default=None,
        help="let tensorflow-datasets download and prepare what it does not find; "
        "needs jdrop[tfds]",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument(
        "--epochs",
        type=_positive_int,
        metavar="N",
        help="(default: on digits mlp 100, alpha_mlp 50, cnn 20; else 20)",
    )
    group.add_argument(
        "--batch-size",
        type=_positive_int,
        metavar="N",
        help="examples a step; what does not fill a last batch waits for another "
        f"epoch's order (default: {DIGITS_BATCH} on digits, else {BATCH}; at most the "
        "training set)",
    )
    group.add_argument(
        "--optimizer",
        choices=("adamw", "sgd"),
        default="adamw",
        help="(default: adamw)",
    )
    group.add_argument(
        "--learning-rate",
        type=_positive,
        metavar="X",
        help="of the first step; it falls to 0 along a cosine (default: mlp 0.003, "
        f"alpha_mlp and cnn 0.001; with sgd {SGD_LEARNING_RATE})",
    )
    group.add_argument(
        "--momentum", type=_fraction, metavar="X", help="of sgd (default: 0.9)"
    )
    group.add_argument(
        "--weight-decay",
        type=_not_negative,
        default=1e-4,
        metavar="X",
        help="of the weights, not of the biases (default: 0.0001)",
    )
    group.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="of initial weights, order and dropout; the split stays (default: 0)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="for metrics.jsonl, curves.png and summary.json (default: a new directory "
        "under runs/)",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the files of a run that --out already holds",
    )
    group.add_argument(
        "--quiet", action="store_true", help="print nothing but the line of JSON"
    )


def _number(
    kind: Callable[[str], Any], law: str, remedy: str, holds: Callable[[Any], bool]
) -> Callable[[str], Any]:
    """A type for argparse whose error states the law, the value and the remedy."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        # No law holds for NaN.
        if not holds(value):
            raise argparse.ArgumentTypeError(f"{law}; got {text}. {remedy}")
        return value

    return convert


_rate = _number(
    float,
    "a rate is the probability of dropping, one number in [0, 1]",
    "Pass 0.5, or 0 for no dropout",
    lambda value: 0 <= value <= 1,
)
_positive_int = _number(
    int, "this is a whole number, 1 or more", "Pass 1 at least", lambda n: n >= 1
)
_positive = _number(
    float,
    "this is a positive, finite number",
    "Pass 0.001, for example",
    lambda value: 0 < value < math.inf,
)
_not_negative = _number(
    float,
    "this is a finite number, 0 or more",
    "Pass 0 for none",
    lambda value: 0 <= value < math.inf,
)
_fraction = _number(
    float, "momentum lies in [0, 1)", "Pass 0.9", lambda value: 0 <= value < 1
)
_seed = _number(
    int, "a seed is a whole number in [0, 2^32)", "Pass 0", lambda n: 0 <= n < 2**32
)
