"""A short version of the evidence; the full one, as recorded; the page it is on.

Everything is seeded, so that a law that holds once holds always.
"""

import jax
import numpy as np
import pytest

import jdrop
from benchmarks import records
from benchmarks.randomness import __main__ as command
from benchmarks.randomness import evidence
from benchmarks.randomness.controls import CONTROLS, sound

SOURCES = (command.LAWS, command.DIEHARDER, command.TESTU01)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """What the command records of the sound draw, at few rates and with little data."""
    path = tmp_path_factory.mktemp("results") / "laws.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "DRAWS", {"sound": sound})
        patch.setattr(evidence, "FULL", evidence.SHORT)
        patch.setattr(evidence, "RATES", (0.5, 1e-3))
        patch.setitem(command.RUNS, "laws", (path, command.run_laws))
        command.main(["laws"])
    return records.load(path)


def test_sound_draw_fails_no_law(recorded):
    _, rows = recorded
    assert len(rows) == 2 * 23 + 1
    assert not command.judged(rows).failed.any()


def test_record_says_where_it_comes_from(recorded):
    header, rows = recorded
    assert header["command"] == "python -m benchmarks.randomness laws"
    assert header["stream"] == f"{jdrop.STREAM} {records.fingerprint()}"
    assert f"jax {jax.__version__}" in header["versions"]
    assert tuple(rows.columns) == command.COLUMNS


@pytest.mark.parametrize(
    ("control", "rate", "laws"),
    [
        ("4 rounds", 0.5, {"count in all", "one bit of the row"}),
        ("repeated lane", 0.1, {"pairs of lanes", "lags along a row"}),
        ("shifted lanes", 0.9, {"lags along a row", "fold_in: pairs of positions"}),
        ("antithetic words", 0.5, {"counts in rows"}),
        (
            "shared keys",
            0.5,
            {"seeds: lags", "repeated 64-bit blocks", "one bit of the key"},
        ),
        ("8-digit rate", 0.1, {"count in all"}),
    ],
)
def test_broken_draw_is_caught(control, rate, laws):
    found = evidence.judge(CONTROLS[control], evidence.SHORT, [rate])
    found = command.judged(found.assign(draw=control))
    assert laws <= set(found[found.failed].test)


def test_flipped_keys_differ_in_one_bit():
    keys = evidence.consecutive_folds(1, 3)
    changed = np.array(jax.random.key_data(evidence.flipped(keys)))
    changed ^= np.asarray(jax.random.key_data(keys))
    assert (np.bitwise_count(changed).sum(-1) == 1).all()
    assert np.unique(changed[:, 0], axis=0).shape == (64, 2)


def test_recorded_draw_is_sound_and_each_control_fails():
    _, rows = records.load(command.LAWS)
    fails = command.judged(rows).groupby("draw").failed.any()
    assert set(fails[~fails].index) == {"sound", "12 rounds"}
    assert set(fails.index) == {"sound", *CONTROLS}


def test_recorded_batteries_pass_sound_masks_and_fail_few_rounds():
    rows = command.judged(records.load(command.DIEHARDER)[1])
    fails = rows.groupby("draw").failed.any().to_dict()
    assert fails == {"sound": False, "AES": False, "8 rounds": True, "4 rounds": True}
    rows = command.judged(records.load(command.TESTU01)[1])
    fails = rows.groupby("draw").failed.any().to_dict()
    assert fails["8 rounds"] and not fails["13 rounds"] and not fails["20 rounds"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_results_are_of_this_stream_and_say_where_they_come_from(path):
    """A stream that has changed needs its evidence again."""
    header, rows = records.load(path)
    assert header["stream"].split()[-1] == records.fingerprint()
    assert header.keys() == {"command", "date", "versions", "stream", "hardware"}
    assert tuple(rows.columns) == command.COLUMNS
    assert rows.p_value.between(0, 1).all()


def test_page_shows_what_the_results_say():
    page = command.PAGE.read_text()
    assert records.fill(page, command.tables()) == page


def test_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="no place for 'laws'"):
        records.fill("<!-- laws --> but no end", {"laws": "a table"})


def test_table_replaces_what_stands_between_its_marks():
    page = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n"
    new = records.fill(page, {"a": "new"})
    assert new == "before\n<!-- a -->\n\nnew\n\n<!-- end of a -->\nafter\n"
