"""The page for users: its tables and its picture say what was recorded."""

import re

import matplotlib
import matplotlib.pyplot as plt
import pytest
from PIL import Image

from benchmarks import performance, records


@pytest.fixture(scope="module")
def loaded():
    return performance.load()


def test_the_page_and_its_picture_show_what_was_recorded(loaded):
    page = performance.PAGE.read_text()
    remedy = "python -m benchmarks.performance"
    assert page == records.fill(page, performance.tables(*loaded)), remedy
    with Image.open(performance.PICTURE) as picture:
        assert picture.text["figures"] == performance.figures(
            performance.panels(*loaded)
        ), remedy
        assert picture.width >= 900
    assert performance.PICTURE.stat().st_size < 150_000


def test_those_who_do_not_see_the_picture_are_told_its_figures(loaded):
    [told] = re.findall(r"!\[([^]]*)\]\(cost\.png\)", performance.PAGE.read_text())
    words = set(re.findall(r"\d+(?:\.\d+)?", told))
    for title, bars in performance.panels(*loaded).items():
        assert {f"{figure:.3g}" for figure in bars.to_numpy().ravel()} <= words, title


def test_each_panel_says_whether_it_was_run(loaded):
    run, compiled = [], []
    for title, bars in performance.panels(*loaded).items():
        (run if ", run" in title else compiled).append(bars)
        assert (", run" in title) != ("compiled, not run" in title)
        assert bars.index[0].startswith("jdrop")
        assert bars.notna().all(axis=None)
        assert list(bars.columns) == list(performance.RATES)
    assert len(run) == len(compiled) == 2


def test_bars_are_as_long_as_the_figures(loaded):
    found = performance.panels(*loaded)
    matplotlib.use("agg")
    figure = performance._figure(found, [1, 1, 1, 4.75])
    for axes, floor, bars in zip(
        figure.axes, (1, 1, 1, 4.75), found.values(), strict=True
    ):
        lengths = [[bar.get_width() for bar in group] for group in axes.containers]
        assert lengths == bars.T.to_numpy().tolist()
        assert set(axes.lines[0].get_xdata()) == {floor}
        assert axes.yaxis_inverted()
    plt.close(figure)
