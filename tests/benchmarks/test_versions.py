"""What was recorded with other versions of JAX and Flax, and the page it is on."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import records, versions, versions_probe

ROWS = records.read(versions.RESULTS)


def test_page_shows_what_the_results_say():
    page = versions.PAGE.read_text()
    assert records.fill(page, versions.tables(ROWS)) == page


def test_jdrop_gives_one_mask_with_every_version_and_setting():
    drawn = ROWS[ROWS.what == "jdrop"]
    assert drawn.result.nunique() == 1
    assert set(drawn.setting) == set(ROWS[ROWS.what == "flax.linen"].setting)
    assert ROWS[ROWS.what == "flax.linen"].result.nunique() > 1


def test_oldest_supported_pair_is_what_the_package_requires():
    metadata = Path("pyproject.toml").read_text()
    oldest = versions.tables(ROWS)["supported"]
    jax, flax = (part.split()[-1] for part in oldest.strip("*.").split(", "))
    assert f"jax>={jax.removesuffix('.0')}" in metadata
    assert f"flax>={flax.removesuffix('.0')}" in metadata


@pytest.mark.parametrize(
    ("what", "result"),
    [("nnx", "ValueError: no"), ("install", "No matching distribution")],
)
def test_failure_of_the_newest_pair_leaves_none_supported(what, result):
    newest = ROWS.iloc[[-1]].assign(what=what, setting="", result=result)
    others = ROWS[(ROWS.jax != newest.jax.item()) | (ROWS.flax != newest.flax.item())]
    kept = ROWS.drop(others.index)
    kept = kept[kept.what != what] if what == "nnx" else kept.iloc[:0]
    rows = pd.concat([others, kept, newest])
    tables = versions.tables(rows)
    assert tables["supported"] == "**none.**"
    pair = f"jax {newest.jax.item()}, flax {newest.flax.item()}"
    assert f"- {pair}: {what}: `{result}`" in tables["failures"]
    assert tables["checks"].splitlines()[-1].count("✗") == (1 if what == "nnx" else 7)


def test_probe_draws_the_recorded_masks():
    for name, mask in versions_probe.masks():
        assert mask in ROWS[ROWS.what == name].result.values
    assert (name, mask) == ("flax.linen", "e4e660e4")


@pytest.mark.parametrize(
    "name",
    ["nnx", *(pytest.param(n, marks=pytest.mark.slow) for n in ("export", "auto"))],
)
def test_check_of_the_probe_works_here(name):
    getattr(versions_probe, f"check_{name}")()


def test_probe_reports_what_fails(monkeypatch):
    def drop(key, x):
        raise ImportError("no jdrop (/somewhere)\nmore")

    monkeypatch.setattr(versions_probe, "drop", drop)
    monkeypatch.setattr(versions_probe, "check_golden", versions_probe.check_linen)
    found = dict(versions_probe.checks())
    assert found["transforms"] == found["linen"] == "ImportError: no jdrop"
    assert "jdrop" not in dict(versions_probe.masks())
