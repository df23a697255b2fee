"""The streams that public batteries read, and how their reports are read."""

import itertools
import os
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

import jdrop
from benchmarks import records
from benchmarks.randomness import __main__ as command
from benchmarks.randomness import batteries, laws
from benchmarks.randomness.controls import sound
from jdrop._stream import threefry2x32

# What is evidence and not the library is tested at leisure.
pytestmark = pytest.mark.slow

SEED = 7
CHUNK = 64

# What dieharder 3.31.1 printed for `-g 200 -d 15`, and some lines for `-d 102`.
RUNS = """\
#=============================================================================#
#            dieharder version 3.31.1 Copyright 2003 Robert G. Brown          #
#=============================================================================#
   rng_name    |rands/second|   Seed   |
stdin_input_raw|  2.30e+06  |2846984604|
#=============================================================================#
        test_name   |ntup| tsamples |psamples|  p-value |Assessment
#=============================================================================#
        diehard_runs|   0|    100000|     100|0.97098675|  PASSED  
        diehard_runs|   0|    100000|     100|0.29603819|  PASSED  
"""  # noqa: W291
SERIAL = """\
          sts_serial|   1|    100000|     100|0.80948435|  PASSED  
          sts_serial|   2|    100000|     100|0.99689761|   WEAK   
          sts_serial|   3|    100000|     100|0.47754031|  PASSED  
"""  # noqa: W291

# Some of what Crush printed.
CRUSH = """\
p-value\tSerialOver, t = 2\t1\t0.41018098754511234

========= Summary results of Crush =========

 All tests were passed



p-value\tCollisionOver, t = 2\t3\t0.55747337536901087
p-value\tCollisionOver, t = 2\t4\t0.92315426271277001
"""


@pytest.fixture
def small_chunks(monkeypatch):
    """Streams in chunks of 64 words."""
    monkeypatch.setattr(batteries, "CHUNK", CHUNK)


def chunks(layout, number):
    return list(itertools.islice(batteries.stream(layout, sound, SEED), number))


def mask(key, shape, rate=0.5):
    return np.asarray(jdrop.sample_mask(key, shape, rate).to_bool())


def test_columns_are_a_mask_column_by_column(small_chunks):
    seen = laws.unpack(np.stack(chunks("columns", 3))[..., None])
    expected = mask(jax.random.key(SEED), (3, 32, CHUNK)).swapaxes(1, 2)
    np.testing.assert_array_equal(seen, expected)


def test_rows_are_the_same_mask_row_by_row(small_chunks):
    seen = laws.unpack(np.stack(chunks("rows", 3))).reshape(3, 32, CHUNK)
    np.testing.assert_array_equal(seen, mask(jax.random.key(SEED), (3, 32, CHUNK)))


def test_outer_is_a_mask_of_one_column(small_chunks):
    seen = laws.unpack(np.concatenate(chunks("outer", 3))[:, None])
    expected = mask(jax.random.key(SEED), (3 * CHUNK, 32, 1))[..., 0]
    np.testing.assert_array_equal(seen, expected)


def test_a_key_is_done_when_its_counters_are(small_chunks, monkeypatch):
    monkeypatch.setattr(batteries._stream, "MAX_FIRST", 2 * CHUNK)
    seen = laws.unpack(chunks("outer", 3)[2][:, None])
    expected = mask(jax.random.key(SEED + 1), (CHUNK, 32, 1))[..., 0]
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(
    ("layout", "derive"),
    [
        ("keys", lambda i: jax.random.fold_in(jax.random.key(SEED), i)),
        ("names", lambda i: jdrop.key_for(jax.random.key(SEED), i)),
        ("seeds", lambda i: jax.random.wrap_key_data(np.array([SEED, i], np.uint32))),
    ],
)
def test_keys_names_and_seeds_are_masks_of_many_keys(layout, derive, small_chunks):
    seen = laws.unpack(np.concatenate(chunks(layout, 2))[:, None])
    expected = [mask(derive(np.uint32(i)), (32,)) for i in (0, 1, 63, 64, 127)]
    np.testing.assert_array_equal(seen[[0, 1, 63, 64, 127]], expected)


def test_digits_fold_into_a_mask(small_chunks):
    """0.1 takes 15 digits: 199a = 0001100110011010, the first of them on the left."""
    digits = np.concatenate(chunks("digits", 1)).reshape(-1, 32)
    kept = np.full(len(digits), 0xFFFFFFFF, np.uint32)
    for place in range(14, -1, -1):
        one = 0x199A >> (15 - place) & 1
        kept = kept & digits[:, place] if one else kept | digits[:, place]
    expected = mask(jax.random.key(SEED), (32, len(digits)), rate=0.1)
    np.testing.assert_array_equal(laws.unpack(kept[:, None]).T, expected)


def test_noise_is_that_of_the_specification(small_chunks):
    """Between the digits: E[S](16 i + d, j), for two columns j of outer index i = 1."""
    drawn = chunks("noise", 2)[1].reshape(-1, 2)
    np.testing.assert_array_equal(drawn[:, 0], chunks("digits", 2)[1])
    key = jax.random.key_data(jax.random.key(SEED))
    domain = (np.uint32(0x6A64726F), np.uint32(0x6E000002))
    seed = threefry2x32(*domain, *key)
    column, pair = np.indices((2, 16), np.uint32).reshape(2, -1)
    expected = np.stack(threefry2x32(*seed, 16 + pair, column), axis=-1)
    np.testing.assert_array_equal(drawn[:, 1], expected.ravel())


@pytest.mark.parametrize("layout", ["digits", "noise"])
def test_a_layout_that_bypasses_a_control_is_refused(layout, capsys):
    with pytest.raises(SystemExit):
        command.main(["stream", layout, "4 rounds"])
    assert f"'{layout}' bypasses the draw: name another" in capsys.readouterr().err


def test_missing_dieharder_is_named(monkeypatch, capsys):
    monkeypatch.setattr(command.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit):
        command.main(["dieharder"])
    assert "apt-get install dieharder" in capsys.readouterr().err


def test_stream_writes_until_the_reader_has_enough(small_chunks, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(fileno=lambda: writer))
    written, write = [], os.write

    def write_twice(pipe, octets):
        if len(written) == 2:
            os.close(reader)
        written.append(bytes(octets))
        return write(pipe, octets)

    monkeypatch.setattr(os, "write", write_twice)
    command.main(["stream", "columns"])
    os.close(writer)
    stream = itertools.islice(batteries.stream("columns", sound, 1), 3)
    assert written == [chunk.astype("<u4").tobytes() for chunk in stream]


def test_program_that_fails_raises():
    code = "import sys; sys.stdin.buffer.read(4); sys.exit(3)"
    with pytest.raises(subprocess.CalledProcessError, match="status 3"):
        batteries.feed([sys.executable, "-c", code], [np.zeros(1, np.uint32)])


def test_program_that_hangs_is_killed():
    endless = itertools.repeat(np.zeros(2**16, np.uint32))
    code = "import time; time.sleep(60)"
    with pytest.raises(subprocess.CalledProcessError, match="SIGKILL"):
        batteries.feed([sys.executable, "-c", code], endless, seconds=0.5)


def test_program_may_print_more_than_a_pipe_holds():
    code = "import sys; print('a' * 10**6); sys.stdin.buffer.read(2**20)"
    words = [np.zeros(2**20, np.uint32)]
    report = batteries.feed([sys.executable, "-c", code], words, seconds=60)
    assert report == "a" * 10**6 + "\n"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (RUNS, ("diehard_runs", "0", [0.97098675, 0.29603819])),
        (SERIAL, ("sts_serial", "1 to 3", [0.80948435, 0.99689761, 0.47754031])),
    ],
)
def test_report_of_dieharder_is_read(report, expected, monkeypatch):
    asked = []
    monkeypatch.setattr(
        batteries, "feed", lambda words, _: asked.append(words) or report
    )
    assert batteries.dieharder("203 -n 7", []) == expected
    assert batteries.dieharder("15", None) == expected
    assert asked == [
        ["dieharder", "-g", "200", "-d", "203", "-n", "7"],
        ["dieharder", "-g", "205", "-d", "15"],
    ]


def test_report_without_a_result_raises(monkeypatch):
    monkeypatch.setattr(batteries, "feed", lambda *_: "unknown test")
    with pytest.raises(RuntimeError, match="dieharder -d 99 has no result:\nunknown"):
        batteries.dieharder("99", [])


@pytest.mark.parametrize(
    ("battery", "seconds"), [("SmallCrush", 1800), ("Crush", 12 * 3600)]
)
def test_report_of_testu01_is_read(battery, seconds, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(batteries, "feed", lambda *given: asked.append(given) or CRUSH)
    assert batteries.testu01(tmp_path, battery, []) == [
        ("SerialOver, t = 2", "1", [0.41018098754511234]),
        ("CollisionOver, t = 2", "3", [0.55747337536901087]),
        ("CollisionOver, t = 2", "4", [0.92315426271277001]),
    ]
    assert asked == [([str(tmp_path), battery], [], seconds)]


def test_a_part_of_crush_replaces_that_part_alone(monkeypatch, tmp_path):
    """Words of the layout and of the rounds asked for, and a record of each part."""

    def first_word(program, battery, chunks):
        word = int(next(iter(chunks))[0])
        return [("Collision", "3", [word / 2**32])]

    monkeypatch.setattr(command, "RESULTS", tmp_path / "randomness.csv")
    monkeypatch.setattr(batteries, "build_testu01", lambda folder: folder)
    monkeypatch.setattr(batteries, "version", lambda tool: "1.2.3")
    monkeypatch.setattr(batteries, "testu01", first_word)
    monkeypatch.setattr(batteries, "CHUNK", CHUNK)
    command.main(["crush", "--rounds", "13", "20", "--layouts", "columns"])
    before = records.read(command.RESULTS)
    command.main(["crush", "--rounds", "13", "--layouts", "rows", "columns"])

    rows = records.read(command.RESULTS).set_index("section")
    assert rows.draw.to_dict() == {
        "crush columns 13 rounds": "13 rounds",
        "crush columns 20 rounds": "20 rounds",
        "crush rows 13 rounds": "13 rounds",
    }
    assert rows.p_value.nunique() == 3
    assert rows.p_value[before.section].tolist() == before.p_value.tolist()
    sources = records.read_sources(command.RESULTS)
    assert sources.keys() == set(rows.index)
    for source in sources.values():
        assert source["command"] == "python -m benchmarks.randomness crush"
        assert source["versions"]["testu01"] == "1.2.3"


@pytest.mark.parametrize(
    ("p_values", "combined"),
    [([0.3], 0.6), ([0.7], 0.6), ([0.4, 0.001], 0.004), ([0.9999, 0.5], 0.0004)],
)
def test_p_values_of_one_test_are_summed_up(p_values, combined):
    assert batteries.combine(p_values) == pytest.approx(combined)


def test_sum_of_p_values_is_a_probability():
    assert batteries.combine([0.5, 0.4, 0.6]) == 1
