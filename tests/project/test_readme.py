"""Each example of the README and of the family's page runs alone, as it is pasted."""

import re
from pathlib import Path

import jax
import pytest

import jdrop

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FAMILY = (ROOT / "docs" / "family.md").read_text("utf-8")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


BLOCKS, RECIPES = blocks(README), blocks(FAMILY)


def test_there_are_three():
    """Functions, linen modules, nnx modules."""
    assert len(BLOCKS) == 3


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("block", BLOCKS, ids=["functions", "linen", "nnx"])
def test_block_alone(block):
    names = {"__name__": "pasted"}
    with jax.debug_key_reuse(True):
        exec(block, names)
    if "logits" in names:
        assert names["logits"].shape == (32, 10)
    else:
        kept = names["mask"].to_bool()
        assert ((names["y"] == 2 * names["x"]) == kept).all()
        assert names["w"].shape == (256, 256)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            i,
            # Others stand for those with more to compile.
            marks=pytest.mark.slow if re.search("flax|optax|grad|scan", recipe) else [],
        )
        for i, recipe in enumerate(RECIPES)
    ],
)
def test_recipe_alone(number):
    exec(RECIPES[number], {"__name__": "pasted"})


def test_the_page_names_every_op():
    for name in jdrop.__all__:
        if name not in ("STREAM", "Mask", "Prediction"):
            assert f"`{name}`" in FAMILY or f"jdrop.{name}(" in FAMILY, name


def test_file_tree_names_every_file_of_the_library():
    tree = README.split("## Files")[1]
    for path in (ROOT / "jdrop").rglob("*.py"):
        assert path.name in tree, path.name
