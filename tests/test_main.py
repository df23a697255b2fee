"""`python -m jdrop`: what it checks, what it prints, and that it can fail."""

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
from jdrop import _golden, _mask, _selfcheck, _stream, _ways

GOLDEN = _golden.load_golden()
MASKS = {vector.name: vector for vector in GOLDEN.masks}
SMALL = MASKS["rate 1/3"]
LARGE = MASKS["large, 0.1"]
WAYS = [
    "eager",
    "jit",
    "jit, traced rate",
    "vmap over keys",
    "scan over keys",
    "gradient under remat",
    "float32 input",
    "bfloat16 input",
    "float16 input",
    "float64 input",
    "key_for",
    "key_for, traced integers",
    "on cpu:0",
    "on cpu:1",
    "sharded, auto axes",
    "sharded, explicit axes",
    "shard_map with offset",
]


def run_command(*options, **environment):
    """Runs the command in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-m", "jdrop", *options],
        cwd=Path(__file__).parent.parent,
        env={"PATH": os.environ["PATH"], "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def vectors(monkeypatch):
    """Leaves the command the vectors that a test gives it, drawn eagerly and by jit."""

    def use(*masks):
        golden = _golden.Golden(jdrop.STREAM, masks, ())
        monkeypatch.setattr(command, "load_golden", lambda: golden)
        monkeypatch.setattr(command, "all_checks", lambda g: _ways.all_checks(g)[:2])

    return use


@pytest.fixture
def fresh_programs():
    """No program that was compiled before or inside the test is used beyond it."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def with_a_wrong_word(vector, position):
    words = [w ^ (i == position) for i, w in enumerate(vector.words)]
    return dataclasses.replace(vector, words=tuple(words), sha256="0" * 64)


def check_named(name, *masks):
    golden = _golden.Golden(jdrop.STREAM, masks, ())
    [check] = [check for check in _ways.all_checks(golden) if check.name == name]
    return check


def test_all_ways_agree_on_two_devices(monkeypatch, capsys):
    devices = jax.local_devices()[:2]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    status = command.main(["--json"])
    report = json.loads(capsys.readouterr().out)
    outcomes = {check["name"]: check for check in report["checks"]}
    assert status == 0 and report["agrees"]
    assert list(outcomes) == WAYS
    assert [name for name in WAYS if outcomes[name]["status"] != "agrees"] == [
        "float64 input"
    ]
    assert outcomes["float64 input"]["reason"] == "jax_enable_x64 is off"
    for name in ("eager", "jit"):
        assert outcomes[name]["vectors"] == list(MASKS)
    mapped = {MASKS[name].impl for name in outcomes["vmap over keys"]["vectors"]}
    assert mapped == {*KEY_IMPLEMENTATIONS, _golden.LEGACY}
    assert all(outcome["vectors"] for outcome in outcomes.values())
    assert report["stream"] == jdrop.STREAM
    assert report["jax"] == jax.__version__
    assert len(report["devices"]) == 2
    assert report["missing_keys"] == []


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
    report = json.loads(done.stdout)
    assert report["agrees"]
    float64 = [c for c in report["checks"] if c["name"] == "float64 input"][0]
    assert (float64["status"] == "agrees") == ("JAX_ENABLE_X64" in settings)


def test_help_says_what_the_exit_status_means():
    done = run_command("--help")
    assert done.returncode == 0, done.stderr
    assert "The exit status is 0 if every word agrees and 1 if not." in done.stdout
    assert "--json" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= command.WIDTH


def test_an_unknown_option_is_an_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--jsno"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: --jsno" in capsys.readouterr().err


def test_table(vectors, capsys):
    vectors(SMALL)
    assert command.main([]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"jdrop     {jdrop.__version__}, stream {jdrop.STREAM}"
    assert lines[1].startswith(f"packages  jax {jax.__version__}, jaxlib ")
    assert "devices   8 x cpu (backend cpu)" in lines
    start = lines.index("check                     vectors  result")
    assert lines[start + 1 : start + 4] == [
        "eager                           1  ✓",
        "jit                             1  ✓",
        "",
    ]
    assert lines[-2].startswith("2 of 2 checks agree, in ")
    assert lines[-1] == f"This machine draws the masks of {jdrop.STREAM}."
    assert max(map(len, lines)) <= command.WIDTH
    assert printed.err == ""


def test_a_changed_vector_is_reported_with_its_first_difference(vectors, capsys):
    vectors(MASKS["image"], with_a_wrong_word(SMALL, 5))
    assert command.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    row = lines.index("eager                           2  ✗ differs")
    assert lines[row + 1 : row + 4] == [
        "    rate 1/3: word (2, 1)",
        f"    expected {SMALL.words[5] ^ 1:08x}",
        f"    got      {SMALL.words[5]:08x}",
    ]
    assert lines[-3].startswith("0 of 2 checks agree, in ")
    assert lines[-2] == f"This machine does NOT draw the masks of {jdrop.STREAM}."
    assert max(map(len, lines)) <= command.WIDTH


def test_a_changed_vector_is_reported_in_json(vectors, capsys):
    vectors(with_a_wrong_word(SMALL, 0))
    assert command.main(["--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["agrees"] is False
    for check in report["checks"]:
        assert check["status"] == "differs"
        assert check["difference"] == {
            "vector": "rate 1/3",
            "word": [0, 0],
            "expected": f"{SMALL.words[0] ^ 1:08x}",
            "got": f"{SMALL.words[0]:08x}",
        }


def test_a_word_that_is_not_on_file_is_reported_by_its_hash(vectors, capsys):
    vectors(dataclasses.replace(LARGE, sha256="0" * 64))
    assert command.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    row = lines.index("    large, 0.1: hash")
    assert lines[row + 1] == "    expected " + "0" * 64
    assert lines[row + 2] == "    got      " + LARGE.sha256
    assert max(map(len, lines)) <= command.WIDTH


def test_another_rotation_is_reported(vectors, capsys, monkeypatch, fresh_programs):
    vectors(SMALL)
    rotations = (13, 15, 26, 6, 17, 29, 16, 23)
    monkeypatch.setattr(_stream, "_ROTATIONS", rotations)
    assert command.main(["--json"]) == 1
    for check in json.loads(capsys.readouterr().out)["checks"]:
        assert check["difference"]["vector"] == "rate 1/3"
        assert check["difference"]["word"] == [0, 0]
        assert check["difference"]["expected"] == f"{SMALL.words[0]:08x}"


@pytest.mark.parametrize("name", ["float32 input", "gradient under remat"])
def test_lanes_that_are_read_wrongly_are_reported(name, monkeypatch, fresh_programs):
    unpack = _mask._unpack
    swapped = np.uint32(0x01010101)
    monkeypatch.setattr(
        _mask, "_unpack", lambda words, shape: unpack(words ^ swapped, shape)
    )
    known = {}
    assert _selfcheck.run(check_named("eager", SMALL), known).status == "agrees"
    outcome = _selfcheck.run(check_named(name, SMALL), known)
    assert outcome.status == "differs"
    assert outcome.difference.word == (0, 0)
    assert outcome.difference.got == f"{SMALL.words[0] ^ 0x01010101:08x}"


def test_what_agreed_tells_which_word_of_many_differs():
    known = {}
    eager = _selfcheck.run(check_named("eager", LARGE), known)
    assert (eager.status, eager.difference) == ("agrees", None)
    words = known["large, 0.1"].reshape(_stream.words_shape(LARGE.shape)).copy()
    words[1234, 56] ^= 0x80000000
    outcome = _selfcheck.run(
        _selfcheck.Check("wrong", [LARGE], lambda vectors: [(vectors[0], words)]), known
    )
    assert outcome.status == "differs"
    assert outcome.difference.word == (1234, 56)
    got, expected = outcome.difference.got, outcome.difference.expected
    assert int(got, 16) ^ int(expected, 16) == 0x80000000


def test_a_check_that_draws_nothing_fails():
    check = _selfcheck.Check("lazy", [SMALL, LARGE], lambda vectors: [])
    outcome = _selfcheck.run(check, {})
    assert outcome.status == "failed"
    assert outcome.reason == "RuntimeError: nothing was drawn for large, 0.1, rate 1/3"


def test_an_error_is_reported_and_the_other_checks_go_on(vectors, capsys, monkeypatch):
    vectors(SMALL)

    def run_out_of_memory(*args, **kwargs):
        raise MemoryError("no room for " + "a very large array " * 20)

    monkeypatch.setattr(_ways, "_in_one_program", run_out_of_memory)
    assert command.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "eager                           1  ✓" in lines
    row = lines.index("jit                             1  ✗ failed")
    assert lines[row + 1].startswith("    MemoryError: no room for a very large array")
    assert lines[-3].startswith("1 of 2 checks agree, in ")
    assert max(map(len, lines)) <= command.WIDTH


def test_a_draw_on_the_wrong_device_fails(monkeypatch):
    monkeypatch.setattr(jax, "device_put", lambda x, device: x)
    outcome = _selfcheck.run(check_named("on cpu:3", MASKS["image"]), {})
    assert outcome.status == "failed"
    assert "image was drawn on" in outcome.reason


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
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "vectors   1 masks and 0 keys by name; this JAX has no philox4x32 keys" in lines
    )
    assert "eager                           1  ✓" in lines


@pytest.mark.parametrize(
    ("name", "owner", "attribute"),
    [
        ("sharded, explicit axes", jax.sharding, "AxisType"),
        ("shard_map with offset", jax, "shard_map"),
    ],
)
def test_what_this_jax_has_not_is_skipped(name, owner, attribute, monkeypatch):
    monkeypatch.delattr(owner, attribute)
    check = check_named(name, LARGE)
    assert check.skip == "not in this JAX"
    assert _selfcheck.run(check, {}).status == "skipped"


@pytest.mark.parametrize(
    ("count", "reason"),
    [(1, "one device"), (8, None), (11, "11 devices do not divide the array")],
)
def test_meshes_are_skipped_where_they_cannot_be(count, reason, monkeypatch):
    devices = (jax.local_devices() * 2)[:count]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    for name in WAYS[-3:]:
        assert check_named(name, LARGE).skip == reason


def test_an_output_without_ticks_gets_plain_words(vectors, monkeypatch):
    vectors(SMALL)
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", plain)
    assert command.main([]) == 0
    plain.seek(0)
    assert "eager                           1  ok\n" in plain.read()


def test_progress_is_shown_on_a_terminal_and_wiped(vectors, capsys, monkeypatch):
    vectors(SMALL)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert command.main(["--json"]) == 0
    shown = capsys.readouterr().err.split("\r")
    assert shown[::2] == ["1/2 eager ...", "2/2 jit ...", ""]
    assert [text.strip() for text in shown[1::2]] == ["", ""]
    assert [len(text) for text in shown[1::2]] == [13, 11]
