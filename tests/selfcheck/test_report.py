"""`python -m jdrop`: what it draws, what it prints, and that it can fail."""

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from cases import KEY_IMPLEMENTATIONS

import jdrop
from jdrop import __main__ as command
from jdrop import _stream, _unpack
from jdrop.selfcheck import report, ways
from jdrop.selfcheck.vectors import LEGACY, Golden, load_golden

GOLDEN = load_golden()
MASKS = {vector.name: vector for vector in GOLDEN.masks}
SMALL = MASKS["rbg key"]
LARGE = MASKS["large, 0.1"]
WAYS = [
    *("eager", "jit", "jit, constant key", "jit, traced rate", "vmap over keys"),
    *("scan over keys", "gradient under remat", "float32 input", "bfloat16 input"),
    *("float16 input", "float64 input", "key_for", "key_for, traced integer"),
    *("on cpu:0", "on cpu:1", "sharded, auto axes", "sharded, explicit axes"),
    "shard_map with offset",
]


def run_command(*options, **environment):
    """Runs the command in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-m", "jdrop", *options],
        cwd=Path(jdrop.__file__).parents[1],
        env={"PATH": os.environ["PATH"], "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def vectors(monkeypatch):
    """Leaves the command the masks that a test gives it, in the ways that it names."""

    def use(*masks, names=("jit", "scan over keys")):
        def some_ways(golden):
            draw = ways.all_ways(GOLDEN)[1].draw
            return [ways.Way(name, golden.masks, draw) for name in names]

        golden = Golden(jdrop.STREAM, masks, ())
        monkeypatch.setattr(report, "load_golden", lambda: golden)
        monkeypatch.setattr(report, "all_ways", some_ways)

    return use


def with_a_wrong_word(vector, position):
    words = [w ^ (i == position) for i, w in enumerate(vector.words)]
    return dataclasses.replace(vector, words=tuple(words), sha256="0" * 64)


def way_named(name, *masks):
    [way] = [way for way in ways.all_ways(GOLDEN) if way.name == name]
    return dataclasses.replace(way, vectors=masks or way.vectors)


def checks_of(capsys, *options):
    """The exit status, and what was said of each way."""
    status = command.main(["--json", *options])
    found = json.loads(capsys.readouterr().out)
    return status, found, {check.pop("name"): check for check in found["checks"]}


def lines_of(capsys):
    """The exit status, and the lines of the table."""
    status = command.main([])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    return status, lines


@pytest.mark.slow
def test_all_ways_agree_on_two_devices(monkeypatch, capsys):
    devices = jax.local_devices()[:2]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    status, found, checks = checks_of(capsys)
    assert (status, found["agrees"], found["quick"]) == (0, True, False)
    assert list(checks) == WAYS
    float64 = checks.pop("float64 input")
    assert (float64["status"], float64["reason"]) == (
        "skipped",
        "jax_enable_x64 is off",
    )
    assert {check["status"] for check in checks.values()} == {"agrees"}
    assert (found["stream"], found["jax"]) == (jdrop.STREAM, jax.__version__)
    assert len(found["devices"]) == 2
    assert found["missing_keys"] == []
    assert {"jax_enable_x64", "jax_default_prng_impl"} <= set(found["settings"])


def test_every_vector_is_drawn_and_every_mask_compiled():
    drawn = {way.name: {v.name for v in way.vectors} for way in ways.all_ways(GOLDEN)}
    compiled = set.union(*(names for way, names in drawn.items() if "jit" in way))
    assert compiled == set(MASKS)
    assert drawn["key_for"] == {vector.name for vector in GOLDEN.keys}
    assert {MASKS[name].impl for name in drawn["jit"]} == {*KEY_IMPLEMENTATIONS, LEGACY}
    assert all(drawn.values())
    keys = [MASKS[name].key for name in drawn["vmap over keys"]]
    assert len(set(keys)) == len(keys) > 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        {"JAX_ENABLE_X64": "1", "JAX_THREEFRY_PARTITIONABLE": "0"},
        {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_DEBUG_KEY_REUSE": "1"},
        {"JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg", "JAX_NUMPY_DTYPE_PROMOTION": "strict"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_all_ways_agree_under_any_setting(settings):
    done = run_command("--json", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["agrees"]
    [float64] = [c for c in found["checks"] if c["name"] == "float64 input"]
    assert (float64["status"] == "agrees") == ("JAX_ENABLE_X64" in settings)


def test_quick_draws_in_the_commonest_ways(monkeypatch, capsys):
    outcome = report.Outcome("", ())
    monkeypatch.setattr(report, "run", lambda way, known: outcome)
    assert command.main(["--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "vectors   9 masks and 10 keys by name" in lines
    assert lines[-2].startswith("3 of 3 ways agree, in ")


def test_module_prints_a_table_that_an_ascii_output_can_show():
    done = run_command("--quick", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"This machine draws the masks of {jdrop.STREAM}." in done.stdout
    assert done.stderr == ""


def test_help_says_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "The exit status is 0 if every word agrees and 1 if not." in text
    assert "--json" in text and "--quick" in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_unknown_option_is_an_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--jsno"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: --jsno" in capsys.readouterr().err


def test_table(vectors, capsys):
    vectors(SMALL)
    status, lines = lines_of(capsys)
    assert status == 0
    assert lines[0] == f"jdrop     {jdrop.__version__}, stream {jdrop.STREAM}"
    assert lines[1].startswith(f"packages  jax {jax.__version__}, jaxlib ")
    assert "devices   8 x cpu (backend cpu)" in lines
    start = lines.index("drawn                     vectors  result")
    assert lines[start + 1 : start + 4] == [
        "jit                             1  agrees",
        "scan over keys                  1  agrees",
        "",
    ]
    assert lines[-2].startswith("2 of 2 ways agree, in ")
    assert lines[-1] == f"This machine draws the masks of {jdrop.STREAM}."


def test_a_changed_vector_is_reported_with_its_first_difference(vectors, capsys):
    vectors(MASKS["least key"], with_a_wrong_word(SMALL, 5))
    status, lines = lines_of(capsys)
    assert status == 1
    row = lines.index("jit                             2  differs")
    difference = {
        "vector": "rbg key",
        "word": [0, 5],
        "expected": f"{SMALL.words[5] ^ 1:08x}",
        "got": f"{SMALL.words[5]:08x}",
    }
    assert lines[row + 1 : row + 4] == [
        "    rbg key: word (0, 5)",
        f"    expected {difference['expected']}",
        f"    got      {difference['got']}",
    ]
    assert lines[-3].startswith("0 of 2 ways agree, in ")
    assert lines[-2] == f"This machine does NOT draw the masks of {jdrop.STREAM}."
    assert lines[-1].endswith("with the output of python -m jdrop --json.")
    status, found, checks = checks_of(capsys)
    assert (status, found["agrees"]) == (1, False)
    for check in checks.values():
        assert (check["status"], check["difference"]) == ("differs", difference)


def test_another_rotation_is_reported(vectors, capsys, monkeypatch, fresh_programs):
    vectors(SMALL, names=["jit"])
    monkeypatch.setattr(_stream, "_ROTATIONS", (13, 15, 26, 6, 17, 29, 16, 23))
    status, _, checks = checks_of(capsys)
    assert status == 1
    assert checks["jit"]["difference"]["vector"] == "rbg key"
    assert checks["jit"]["difference"]["expected"] == f"{SMALL.words[0]:08x}"


@pytest.mark.parametrize("name", ["float32 input", "gradient under remat"])
def test_bits_that_are_read_wrongly_are_reported(name, monkeypatch, fresh_programs):
    is_set, swapped = _unpack._is_set, np.uint32(0x01010101)
    monkeypatch.setattr(
        _unpack, "_is_set", lambda words, row: is_set(words ^ swapped, row)
    )
    outcome = report.run(way_named(name, SMALL), {})
    assert outcome.status == "differs"
    assert outcome.difference["word"] == (0, 0)
    assert outcome.difference["got"] == f"{SMALL.words[0] ^ 0x01010101:08x}"


def test_what_agreed_tells_which_word_of_many_differs():
    known = {}
    assert report.run(way_named("eager", LARGE), known).status == "agrees"
    words = known["large, 0.1"].reshape(LARGE.shape[0] // 32, -1).copy()
    words[123, 456] ^= 0x80000000
    wrong = ways.Way("wrong", [LARGE], lambda vectors: [(vectors[0], words)])
    difference = report.run(wrong, known).difference
    assert difference["word"] == (123, 456)
    assert int(difference["got"], 16) ^ int(difference["expected"], 16) == 0x80000000
    # What no way has agreed on is named by its hash.
    difference = report.run(wrong, {}).difference
    assert difference["word"] is None
    assert difference["expected"] == LARGE.sha256 != difference["got"]


def test_a_hash_is_reported_as_such():
    difference = {"vector": "x", "word": None, "expected": "0" * 64, "got": "1" * 64}
    outcome = report.Outcome("way", ("x",), "differs", difference=difference)
    lines = report.row(outcome).splitlines()
    assert lines[1:] == [
        "    x: hash",
        "    expected " + "0" * 64,
        "    got      " + "1" * 64,
    ]
    assert max(map(len, lines)) <= 80


def test_a_way_that_draws_nothing_fails():
    outcome = report.run(ways.Way("lazy", [SMALL], lambda vectors: []), {})
    assert (outcome.status, outcome.reason) == ("failed", "nothing was drawn")


def test_an_error_is_reported_and_the_other_ways_go_on(vectors, capsys, monkeypatch):
    vectors(SMALL)

    def run_out_of_memory(vectors):
        raise MemoryError("no room for " + "a µ-array " * 40)

    wrong = ways.Way("eager", [SMALL], run_out_of_memory)
    some_ways = report.all_ways
    monkeypatch.setattr(report, "all_ways", lambda golden: [wrong, *some_ways(golden)])
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", plain)
        assert command.main([]) == 1
    plain.seek(0)
    lines = plain.read().splitlines()
    row = lines.index("eager                           1  failed")
    assert lines[row + 1].startswith(r"    MemoryError: no room for a \xb5-array")
    assert "jit                             1  agrees" in lines
    assert lines[-3].startswith("2 of 3 ways agree, in ")
    assert max(map(len, lines)) <= 80
    _, _, checks = checks_of(capsys)
    assert checks["eager"]["reason"].count("a µ-array") == 40


def test_a_draw_on_the_wrong_device_fails(monkeypatch):
    monkeypatch.setattr(jax, "device_put", lambda x, device: x)
    outcome = report.run(way_named("on cpu:3"), {})
    assert outcome.status == "failed"
    assert "image, last offset was drawn on" in outcome.reason


def test_keys_that_this_jax_has_not_are_left_out_and_named(
    vectors, capsys, monkeypatch
):
    wrap = jax.random.wrap_key_data

    def wrap_older(data, *, impl):
        if impl == "philox4x32":
            raise ValueError("unrecognized PRNG implementation")
        return wrap(data, impl=impl)

    vectors(SMALL, MASKS["philox4x32 key"])
    monkeypatch.setattr(jax.random, "wrap_key_data", wrap_older)
    status, lines = lines_of(capsys)
    assert status == 0
    assert (
        "vectors   1 masks and 0 keys by name; this JAX has no philox4x32 keys" in lines
    )
    assert "jit                             1  agrees" in lines
    assert checks_of(capsys)[1]["missing_keys"] == ["philox4x32"]


@pytest.mark.parametrize(
    ("count", "reason"),
    [(1, "one device"), (8, None), (11, "11 devices do not divide the array")],
)
def test_meshes_are_skipped_where_they_cannot_be(count, reason, monkeypatch):
    devices = (jax.local_devices() * 2)[:count]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    for name in WAYS[-3:]:
        way = way_named(name)
        assert way.skip == reason
        assert len(report.row(report.Outcome(name, (), "skipped", reason))) <= 80


def test_progress_is_shown_on_a_terminal_and_wiped(vectors, capsys, monkeypatch):
    vectors(SMALL)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert command.main(["--json"]) == 0
    shown = capsys.readouterr().err.split("\r")
    assert [text.rstrip() for text in shown] == [
        *("1/2 jit ...", "", "2/2 scan over keys ...", ""),
        "",
    ]
    assert {len(text) for text in shown[:-1]} == {40}
