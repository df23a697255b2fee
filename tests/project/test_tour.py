"""The tour is a program: its cells run in order, and its saved outputs are there."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

TOUR = Path(__file__).parents[2] / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def cells():
    found = json.loads(TOUR.read_text("utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_cells_run_in_order(cells):
    plt.switch_backend("agg")
    names = {"__name__": "tour"}
    for number, cell in enumerate(cells, 1):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    plt.close("all")


def test_what_was_run_is_saved(cells):
    assert TOUR.stat().st_size < 400_000
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    drawn = [cell for cell in cells if "plt." in "".join(cell["source"])]
    assert len(drawn) > 3
    shown = [o for o in outputs if "image/png" in o.get("data", ())]
    # The first cell sets the size of figures, and draws none.
    assert len(shown) == len(drawn) - 1


def test_most_cells_check_what_the_text_says(cells):
    checks = [c for c in cells if "assert" in "".join(c["source"])]
    assert len(checks) > 0.9 * len(cells)


def test_its_links_lead_to_pages():
    # The site's builder looks at the links of pages, not at those of notebooks.
    source = json.loads(TOUR.read_text("utf-8"))["cells"]
    text = "".join(line for cell in source for line in cell["source"])
    links = re.findall(r"\]\(\.\./([a-z_/]+?)/(?:#([a-z-]+))?\)", text)
    assert len(links) > 10 and text.count("](../") == len(links)
    for name, anchor in links:
        page = TOUR.parent / f"{name}.md"
        page = page if page.exists() else TOUR.parent / name / "index.md"
        titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
        slugs = [re.sub(r"[^\w -]", "", title.lower()) for title in titles]
        assert not anchor or anchor in [slug.replace(" ", "-") for slug in slugs]
