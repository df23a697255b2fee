"""Each example of the README runs alone, as it is pasted."""

import re
from pathlib import Path

import jax
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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


def test_file_tree_names_every_file_of_the_library():
    tree = README.split("## Files")[1]
    for path in (Path(__file__).parents[2] / "jdrop").rglob("*.py"):
        assert path.name in tree, path.name
