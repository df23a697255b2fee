"""The costs on the pages of the family are those of the committed results."""

import jdrop
from benchmarks import family_pages, records
from benchmarks.compiled import page as compiled
from benchmarks.table import names


def test_the_pages_say_what_the_results_say():
    timed, read = records.read(family_pages.RUN), compiled.load()
    timed["name"] = names(timed)
    for name, ops in family_pages.OPS.items():
        text = (family_pages.PAGES / f"{name}.md").read_text("utf-8")
        # If not: python -m benchmarks.family_pages
        table = family_pages.table(ops, timed, read)
        assert records.fill(text, {"cost": table}) == text, name


def test_every_op_that_is_timed_has_a_page():
    every = {op for ops in family_pages.OPS.values() for op in ops}
    around = {"key_for", "sample_mask", "apply_mask", "mc_predict"}
    around |= {"drop_path_rates", "concrete_regulariser"}
    public = {name for name in jdrop.__all__ if name.islower()}
    assert every == public - around
