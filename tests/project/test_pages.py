"""Each block of Python in the README and on the site runs alone, as it is pasted."""

import re
from pathlib import Path

import jax
import pytest

import jdrop

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page):
    # A block in a tab or a list is indented, as its fence is.
    found = re.finditer(
        r"^( *)```python\n(.*?)^\1```",
        page.read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return [re.sub(f"^{block[1]}", "", block[2], flags=re.MULTILINE) for block in found]


def every_block():
    for page in PAGES:
        name = page.relative_to(ROOT).with_suffix("").as_posix()
        for number, block in enumerate(blocks(page), 1):
            # Each compiles programs of its own; `make docs` runs them all.
            marks = [] if page == README else pytest.mark.slow
            yield pytest.param(block, id=f"{name}-{number}", marks=marks)


def paste(block):
    """Runs a block as in a fresh interpreter, and returns its names."""
    names = {"__name__": "pasted"}
    with jax.debug_key_reuse("debug_key_reuse" not in block):
        exec(block, names)
    return names


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("block", list(every_block()))
def test_block_alone(block):
    paste(block)


def test_the_family_names_every_op():
    family = (ROOT / "docs" / "family" / "index.md").read_text("utf-8")
    for name in jdrop.__all__:
        if name not in ("STREAM", "Mask", "Prediction"):
            assert f"`{name}`" in family, name


def test_contributors_are_told_of_every_file_of_the_library():
    tree = (ROOT / "docs" / "contributing.md").read_text("utf-8").split("## Files")[1]
    for path in (ROOT / "jdrop").rglob("*.py"):
        assert path.name in tree, path.name
