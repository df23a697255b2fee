"""Published recipes: `python -m examples.recipes` lists them, with a NAME it runs one.

    python -m examples.recipes d2l --download --out runs/d2l

What follows the name are further options of `examples.train`, which overrule those of
the recipe. The figures are their authors', not ours.
"""

import shlex
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from examples import train


class Recipe(NamedTuple):
    """Options of `examples.train`, and what they are taken from."""

    options: str
    figure: str
    source: str
    differs: str


D2L = (
    "--dataset fashion_mnist --model mlp --units 256 256 --input-rate 0 "
    "--optimizer sgd --momentum 0 --weight-decay 0 --schedule constant "
    "--learning-rate 0.1 --batch-size 256 --epochs 10 --validation-size 0 "
)
CIFAR10 = (
    "--dataset cifar10 --model cnn --rate 0.25 0.5 --batch-size 128 --epochs 50 "
    "--validation-size 0 "
)
NOT_PUBLISHED = (
    "none for this network; 79 % of the test set right after 50 epochs for one of 32, "
    "32, 64, 64 channels, with augmented images"
)
KERAS = "Keras 2, examples/cifar10_cnn.py, which drops at 0.25 and 0.5"
INITIAL = "weights begin as LeCun normal; images are standardised"
RECIPES = {
    "d2l": Recipe(
        D2L + "--rate 0.5 0.5",
        "curves only, no number",
        "Zhang et al., Dive into Deep Learning 1.0.3, section 5.6",
        INITIAL,
    ),
    "d2l-2021": Recipe(
        D2L + "--rate 0.2 0.5",
        "curves only, no number",
        "Zhang et al., Dive into Deep Learning 0.17.0, section 4.6",
        f"{INITIAL}; their learning rate is 0.5, on images that are not",
    ),
    "max-norm": Recipe(
        "--dataset mnist --model mlp --units 1024 1024 2048 --input-rate 0.2 "
        "--rate 0.5 0.5 0.5 --max-norm 3 --optimizer sgd --momentum 0.95 "
        "--learning-rate 0.1 --weight-decay 0 --batch-size 100 --steps 100000 "
        "--validation-size 0",
        "1.05 % of the test set wrong",
        "Srivastava et al. 2014, table 9; their code, deepnet/examples/ff",
        f"{INITIAL}; theirs let the momentum rise from 0.5 towards 0.99, and the rate "
        "fall from 1 as 1 / (1 + step / 10000); appendix B.1 has 0.95 and a norm of 2",
    ),
    "cifar10-valid": Recipe(
        CIFAR10 + "--padding valid",
        NOT_PUBLISHED,
        KERAS,
        "one convolution a block, 32, 64, 128 channels; AdamW; no augmentation",
    ),
    "cifar10-same": Recipe(
        CIFAR10 + "--padding same",
        NOT_PUBLISHED,
        KERAS,
        "as cifar10-valid, and images keep their size in a convolution",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Lists the recipes, or trains one; returns the exit status."""
    name, *options = (sys.argv[1:] if argv is None else argv) or [""]
    if name in RECIPES:
        return train.main([*shlex.split(RECIPES[name].options), *options])
    if name and not name.startswith("-"):
        names = ", ".join(RECIPES)
        print(f"recipes: error: NAME is one of {names}; got {name}", file=sys.stderr)
        return 2
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, recipe in RECIPES.items():
        table.add_row(f"[bold]{name}", "python -m examples.train " + recipe.options)
        table.add_row("their figure", recipe.figure)
        table.add_row("source", recipe.source)
        table.add_row("differs here", recipe.differs + "\n")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
