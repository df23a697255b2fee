"""The bit streams that a public battery reads, and how its report is read."""

import itertools
import os
import shutil

import jax
import numpy as np
import pytest

import jdrop
from benchmarks.randomness import battery, dieharder, layouts, packed, testu01
from benchmarks.randomness.__main__ import main
from benchmarks.randomness.controls import few_rounds, sound

SEED = 7
CHUNK = 64


@pytest.fixture
def small_chunks(monkeypatch):
    """Streams in chunks of 64 words."""
    monkeypatch.setattr(layouts, "CHUNK", CHUNK)
    layouts._compiled.cache_clear()
    yield
    layouts._compiled.cache_clear()


def chunks(layout: str, number: int) -> list[np.ndarray]:
    stream = layouts.stream(layout, sound, SEED)
    return [next(stream) for _ in range(number)]


def mask(key, shape, offset=0, rate=0.5):
    bits = jdrop.sample_mask(key, shape, rate, offset=offset).to_bool()
    return np.asarray(bits)


def test_row_is_a_mask_of_long_rows(small_chunks):
    seen = packed.unpack(np.stack(chunks("row", 3)))
    np.testing.assert_array_equal(seen, mask(jax.random.key(SEED), (3, 32 * CHUNK)))


def test_rows_is_a_mask_of_short_rows(small_chunks):
    seen = packed.unpack(np.concatenate(chunks("rows", 3))[:, None])
    np.testing.assert_array_equal(seen, mask(jax.random.key(SEED), (3 * CHUNK, 32)))


@pytest.mark.parametrize(
    ("layout", "derive"),
    [
        ("keys", lambda i: jax.random.fold_in(jax.random.key(SEED), i)),
        ("seeds", lambda i: jax.random.wrap_key_data(np.array([SEED, i], np.uint32))),
    ],
)
def test_keys_and_seeds_are_masks_of_many_keys(layout, derive, small_chunks):
    seen = packed.unpack(np.concatenate(chunks(layout, 2))[:, None])
    expected = [mask(derive(np.uint32(i)), (32,)) for i in (0, 1, 63, 64, 127)]
    np.testing.assert_array_equal(seen[[0, 1, 63, 64, 127]], expected)


def test_lanes_are_a_row_transposed(small_chunks):
    (first,) = chunks("lanes", 1)
    row = mask(jax.random.key(SEED), (1, 32 * CHUNK)).reshape(CHUNK, 32)
    np.testing.assert_array_equal(packed.unpack(first), row.T.ravel())


def test_digits_fold_into_a_mask(small_chunks):
    """0.1 takes 15 digits: 199a = 0001100110011010, the first of them on the left."""
    digits = np.concatenate(chunks("digits", 1)).reshape(-1, 32)
    kept = np.full(len(digits), 0xFFFFFFFF, np.uint32)
    for place in range(14, -1, -1):
        one = 0x199A >> (15 - place) & 1
        kept = kept & digits[:, place] if one else kept | digits[:, place]
    expected = mask(jax.random.key(SEED), (1, 32 * len(digits)), rate=0.1)
    np.testing.assert_array_equal(packed.unpack(kept[None]), expected)


@pytest.mark.parametrize("command", ["stream --bytes 1 --layout", "battery --layouts"])
def test_digits_of_a_control_are_refused(command, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(SystemExit, match="bypasses the draw"):
        main([*command.split(), "digits", "--control", "4 rounds"])


def test_battery_needs_dieharder(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="apt-get install dieharder"):
        main(["battery"])


def test_stream_writes_as_many_bytes_as_asked(small_chunks, capfdbinary):
    main(["stream", "--layout", "rows", "--bytes", "300", "--seed", str(SEED)])
    expected = np.concatenate(chunks("rows", 2)).astype("<u4").tobytes()
    assert capfdbinary.readouterr().out == expected[:300]


def test_stream_of_no_bytes_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["stream", "--layout", "rows", "--bytes", "0"])
    assert "at least 1 byte; got 0" in capsys.readouterr().err


def test_feed_stops_where_the_reader_does():
    reader, writer = os.pipe()
    endless = itertools.repeat(np.zeros(2**20, np.uint32))
    os.close(reader)
    assert dieharder.feed(writer, endless) == 0
    os.close(writer)


def test_report_of_dieharder_is_parsed():
    report = """
#      dieharder version 3.31.1 Copyright 2003 Robert G. Brown          #
   rng_name    |rands/second|   Seed   |
stdin_input_raw|  2.30e+07  |2424373438|
        test_name   |ntup| tsamples |psamples|  p-value |Assessment
        diehard_runs|   0|    100000|     100|0.00312050|   WEAK
          sts_serial|  16|    100000|     100|0.40200290|  PASSED
"""
    first, second = battery.parse(report)
    assert first == {
        "test": "diehard_runs",
        "ntuple": 0,
        "samples": 100,
        "p_value": 0.0031205,
        "assessment": "WEAK",
    }
    assert second["ntuple"] == 16


@pytest.mark.skipif(not shutil.which("dieharder"), reason="needs dieharder")
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (dieharder.masks("row", sound), {"PASSED"}),
        (dieharder.masks("row", few_rounds(4)), {"FAILED"}),
        # Keyed by the clock: one p-value in a hundred is weak.
        (dieharder.aes, {"PASSED", "WEAK"}),
    ],
    ids=["sound", "4 rounds", "AES"],
)
def test_dieharder_tells_sound_from_broken(source, expected):
    diehard_runs = battery.Test(15)
    outcomes = list(battery.run_tests("name", source, [diehard_runs], SEED, reruns=0))
    assert len(outcomes) == 2
    assert {outcome.assessment for outcome in outcomes} <= expected


def test_what_is_not_passed_is_run_again_with_other_keys():
    line = "  sts_runs|  2|  100000|  100|0.{}|  {}\n"
    answers = {5: ("0010", "WEAK"), 6: ("5000", "PASSED"), 105: ("7000", "PASSED")}
    seeds = []

    def source(arguments, seed):
        seeds.append(seed)
        return line.format(*answers[seed]), 10**6

    tests = [battery.Test(101), battery.Test(100)]
    outcomes = list(battery.run_tests("name", source, tests, 5))
    assert seeds == [5, 105, 6]
    assert [outcome.rerun for outcome in outcomes] == [0, 1, 0]
    assert [outcome.megabytes for outcome in outcomes] == [1, 1, 1]


def test_p_values_of_testu01_are_read_and_judged():
    report = "noise\np-value\tGap\t1e-12\np-value\tMaxOft AD\t0.9995\n"
    run = {"p_values": testu01.parse(report + "p-value\tPoker\t0.25\n")}
    assert run["p_values"][1] == ("MaxOft AD", 0.9995)
    assert testu01.judged(run) == (1, 1)


def test_test_without_a_result_raises():
    def source(arguments, seed):
        return "unknown test", 0

    with pytest.raises(RuntimeError, match="has no result"):
        list(battery.run_tests("name", source, [battery.Test(99)], SEED))
