"""The gallery, drawn small: every op has a panel, and what it drops can be seen."""

import inspect

import numpy as np
import pytest
from PIL import Image

import jdrop
from examples import gallery

# They take a key and return no array that could be shown, or one of others' masks.
NO_OPS = {"key_for", "sample_mask", "mc_predict"}


@pytest.fixture(scope="module")
def panels():
    return {panel.title.split(",")[0]: panel for panel in gallery.panels(16)}


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
        array = array[: gallery.FEATURES] if name == "drop_connect" else array
        assert abs((array == 0).mean() - 0.3) < 0.11, name


def test_squares_are_put_together_as_they_were_cut():
    x = np.arange(16 * 20 * 3).reshape(16, 20, 3)
    for side in (2, 4):
        np.testing.assert_array_equal(gallery.joined(gallery.cut(x, side)), x)


@pytest.mark.slow
def test_the_command_draws_a_small_png(tmp_path, capsys):
    out = tmp_path / "family.png"
    gallery.main(["--out", str(out), "--pixels", "16"])
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as image:
        assert image.mode == "P"
    assert gallery.OUT.stat().st_size < 300_000


def test_a_height_that_has_no_patches_is_refused(capsys):
    with pytest.raises(SystemExit):
        gallery.main(["--pixels", "12"])
    assert "--pixels is a multiple of 8; got 12" in capsys.readouterr().err
