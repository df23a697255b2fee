"""The examples of the README run as they stand, one after the other."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parent.parent / "README.md"


@pytest.mark.usefixtures("standard_promotion")
def test_examples():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(block, names)
        if "logits" in names:
            assert names.pop("logits").shape == (4, 10)
    assert (names["y"] == names["jdrop"].dropout(names["key"], names["x"], 0.5)).all()


def test_file_tree_names_every_file_of_the_library():
    tree = README.read_text().split("## Files")[1]
    for path in (README.parent / "jdrop").glob("*.py"):
        assert path.name in tree, path.name
