"""The table of mutants fits the library: each changes one place, and names a test."""

from pathlib import Path

import pytest
from mutants import MUTANTS, ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_changes_one_place(mutant):
    source = (ROOT / "jdrop" / mutant.file).read_text("utf-8")
    assert source.count(mutant.old) == 1
    assert mutant.old != mutant.new
    path, _, test = mutant.test.partition("::")
    name = test.partition("[")[0]
    assert f"def {name}" in Path(ROOT / "tests" / path).read_text("utf-8")


def test_names_are_unique():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
