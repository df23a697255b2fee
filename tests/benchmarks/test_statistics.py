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

# What is evidence and not the library is tested at leisure.
pytestmark = pytest.mark.slow

ROWS, SOURCES = (read(command.RESULTS) for read in (records.read, records.read_sources))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """What the command records of the sound draw, at few rates and with little data."""
    path = tmp_path_factory.mktemp("results") / "randomness.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "DRAWS", {"sound": sound})
        patch.setattr(evidence, "FULL", evidence.SHORT)
        patch.setattr(evidence, "RATES", (0.5, 1e-3))
        patch.setattr(command, "RESULTS", path)
        command.main(["laws"])
    return records.read(path), records.read_sources(path)["laws"]


def test_sound_draw_fails_no_law(recorded):
    rows, _ = recorded
    assert len(rows) == 2 * 30 + 1
    assert not command.judged(rows).failed.any()


def test_record_says_where_it_comes_from(recorded):
    rows, source = recorded
    assert source["command"] == "python -m benchmarks.randomness laws"
    assert source["stream"] == f"{jdrop.STREAM} {records.fingerprint()}"
    assert source["versions"]["jax"] == jax.__version__
    assert {"date", "commit", "hardware"} < source.keys()
    assert tuple(rows.columns) == command.COLUMNS


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("control", "rate", "laws"),
    [
        ("4 rounds", 0.5, {"count in all", "one bit of the counters"}),
        (
            "shared keys",
            0.5,
            {"seeds: lags", "repeated 64-bit blocks", "one bit of the key"},
        ),
        ("overlapping pairs", 0.1, {"lags across outer indices"}),
        slow("antithetic columns", 0.5, {"counts in rows", "lags along a row"}),
        slow("repeated row", 0.1, {"pairs in words", "lags along a column"}),
        slow("rotated columns", 0.5, {"diagonals", "key_for: pairs of positions"}),
        slow("8-digit rate", 0.1, {"count in all"}),
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


def failing(section):
    """Whether each draw fails, by what is recorded."""
    rows = command.judged(ROWS[ROWS.section == section])
    return rows.groupby("draw").failed.any().to_dict()


def test_recorded_draw_is_sound_and_each_control_fails():
    sound = {"sound": False, "12 rounds": False}
    assert failing("laws") == dict.fromkeys(CONTROLS, True) | sound


def test_recorded_batteries_pass_sound_masks_and_fail_few_rounds():
    sound = {"sound": False, "AES": False}
    assert failing("dieharder") == sound | {"8 rounds": True, "4 rounds": True}
    few = {f"{rounds} rounds": rounds < 10 for rounds in command.TESTU01_ROUNDS}
    assert failing("testu01") == few


def is_crush(section):
    return section.startswith("crush ")


def test_recorded_crushes_are_whole_and_pass():
    rows = command.judged(ROWS[ROWS.section.map(is_crush)])
    assert (rows.groupby("section").size() == 144).all()
    assert not rows.failed.any()


def test_results_are_of_this_stream_and_say_where_they_come_from():
    """A stream that has changed needs its evidence again."""
    sections = set(ROWS.section)
    assert SOURCES.keys() == sections
    assert {name for name in sections if not is_crush(name)} == command.RUNS.keys()
    for source in SOURCES.values():
        assert source["stream"].split()[-1] == records.fingerprint()
        assert {"command", "date", "versions", "hardware"} < source.keys()
    assert tuple(ROWS.columns) == command.COLUMNS
    assert ROWS.p_value.between(0, 1).all()


def test_page_shows_what_the_results_say():
    page = command.PAGE.read_text()
    assert records.fill(page, command.tables()) == page
