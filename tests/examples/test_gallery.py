"""The gallery, drawn small: every op has a panel, and every page a picture."""

import inspect
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jdrop
from examples.gallery import __main__ as gallery
from examples.gallery import dropped, family, measured, photograph

# They take a key and return no array that could be shown, or one of others' masks.
NO_OPS = {"key_for", "sample_mask", "mc_predict"}
NAMES = {"family", *dropped.PICTURES, *measured.PICTURES}


@pytest.fixture(scope="module")
def panels():
    return {panel.title.split(",")[0]: panel for panel in family.panels(16)}


@pytest.mark.slow
def test_every_op_has_a_panel(panels):
    functions = {
        name
        for name in jdrop.__all__
        if inspect.isfunction(function := getattr(jdrop, name))
        and next(iter(inspect.signature(function).parameters)) == "key"
    }
    assert panels.keys() == {"the photograph"} | functions - NO_OPS


@pytest.mark.slow
def test_every_panel_shows_something_else(panels):
    pixels = [np.asarray(panel.pixels) for panel in panels.values()]
    assert all(np.isfinite(array).all() for array in pixels)
    assert len({array.tobytes() for array in pixels}) == len(panels)
    # Three in ten of 16 rows by 20 columns: four standard deviations are a tenth.
    for name in ("dropout", "drop_connect", "attention_dropout"):
        array = np.asarray(panels[name].pixels)
        array = array[: family.FEATURES] if name == "drop_connect" else array
        assert abs((array == 0).mean() - 0.3) < 0.11, name


@pytest.mark.slow
def test_the_rates_of_a_picture_are_those_of_its_titles():
    x = photograph.photograph("china.jpg", 32)
    _, every = dropped.dropout(jax.random.key(0), x)
    pixels = [np.asarray(panel.pixels) for panel in every]
    for panel, array in zip(every, pixels, strict=True):
        rate = float(panel.title.removeprefix("rate "))
        # 32 rows by 40 columns: four standard deviations are less than 0.06.
        assert abs((array == 0).all(-1).mean() - rate) < 0.06, panel.title
    for lower, higher in zip(pixels, pixels[1:], strict=False):
        assert (lower[higher > 0] > 0).all()


def test_squares_are_put_together_as_they_were_cut():
    x = np.arange(16 * 20 * 3).reshape(16, 20, 3)
    for side in (2, 4):
        cut = photograph.cut(x, side)
        np.testing.assert_array_equal(photograph.joined(cut), x)


def test_every_page_has_its_picture_and_shows_it():
    pages = {page.stem: page.read_text("utf-8") for page in gallery.OUT.glob("*.md")}
    pages["family"] = pages.pop("index")
    assert pages.keys() == NAMES
    assert {picture.stem for picture in gallery.OUT.glob("*.png")} == NAMES
    for name, text in pages.items():
        assert f"]({name}.png)" in text
        assert (gallery.OUT / f"{name}.png").stat().st_size < 150_000


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_command_draws_small_pngs(tmp_path, capsys):
    gallery.main(["--out", str(tmp_path), "--pixels", "16"])
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {out.stem for out in written} == NAMES
    for out in written:
        with Image.open(out) as image:
            assert image.mode == "P"


def test_a_height_that_has_no_patches_is_refused(capsys):
    with pytest.raises(SystemExit):
        gallery.main(["--pixels", "12"])
    assert "--pixels is a multiple of 8; got 12" in capsys.readouterr().err
