"""The behaviour tables: jdrop keeps its promises, and a case can tell who does not."""

import json
import sys

import jax
import jax.numpy as jnp
import pandas as pd
import pytest

from benchmarks import behaviour, behaviour_page, records
from benchmarks.behaviour_page import DROPOUT, TABLES, broken, cases_of
from benchmarks.counting import residual_bits, stream_bits, threefry_bits
from benchmarks.peers import PEERS
from benchmarks.peers.base import Peer, only
from benchmarks.peers.jax_libraries import JaxPeer
from benchmarks.probes import Case, Observation, number, plain, values
from benchmarks.probes.family import FAMILY

# What is evidence and not the library is tested at leisure.
pytestmark = pytest.mark.slow

CASES = {case.title: case for case in (*DROPOUT, *FAMILY)}
# jdrop has no collections; what the fingerprint is, the golden vectors pin.
UNJUDGED = {
    "only a key for `params`, rate 0.5",
    "fingerprint of a mask",
}
# Quick, and about each kind of judgement: words, an error, a count, a placement.
PROMISES = (
    "rate 1.5, x = 1",
    "rate 1",
    "rate 0, no key",
    "no key, rate 0.5",
    "one key used twice, jax_debug_key_reuse",
    "x = NaN where it is dropped",
    "mask of rows 5 to 11, alone",
    "x over 8 devices, automatic axes",
    "random bits drawn per element, rate 0.5",
    "feature alpha dropout given its mask, rate 0.25",
    "Gaussian dropout, rate 0.25: mean, variance, law of y / x",
    "drop block given its mask, rate 0.25",
)
ROW = {"case": "rate 1", "expected": "0, gradient 0"}


def promise(title):
    return pytest.param(
        title, marks=[] if title in PROMISES else pytest.mark.slow, id=title
    )


@pytest.mark.parametrize(
    "title", [promise(title) for title in CASES if title not in UNJUDGED]
)
def test_jdrop_keeps_its_promises(title):
    seen = CASES[title](PEERS["jdrop"]())
    assert seen.agrees, f"{seen.observed}: {seen.detail}"


def test_titles_are_told_apart():
    assert len(CASES) == len(DROPOUT) + len(FAMILY)
    assert CASES.keys() >= UNJUDGED | set(PROMISES)
    assert {
        name for table in TABLES.values() for name in table.libraries
    } == PEERS.keys()


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("library", "title", "observed"),
    [
        ("flax.nnx", "rate -0.5, x = 1", "accepted: 0.667"),
        ("flax.nnx", "traced rate 0.3", "TracerBoolConversionError"),
        ("flax.nnx", "broadcast_dims (5,) of a 2-d x", "IndexError"),
        ("flax.nnx", "mask of vmap over rbg keys, against a loop", "another"),
        ("flax.nnx", "random bits drawn per element, rate 0.5", "64 bits"),
        ("flax.nnx", "alpha dropout, rate 1", "(not offered)"),
        ("flax.linen", "only a key for `params`, rate 0.5", "0, 2"),
        ("flax.linen", "the mode by position: True", "accepted: dropout off"),
        ("torch", "rate 1", "0, gradient 0"),
        ("torch", "traced rate 0.3", "(rate is a number)"),
        ("torch", "no key, rate 0.5", "draws from its own state"),
        ("torch", "dtype of y for float16, bfloat16, float32 x", "that of x"),
        ("torch", "kept for the backward pass, rate 0.1", "32 bits"),
    ],
)
def test_libraries_are_seen_as_they_are(library, title, observed):
    pytest.importorskip(library.partition(".")[0])
    assert CASES[title](PEERS[library]()).observed == observed


class Naive(JaxPeer):
    """Dropout as it is often written: no checks, a product, a mask in x's dtype."""

    name = "jax"

    def drop(self, key, x, rate, *mode, **options):
        only(options)
        draw = jax.random.uniform(key, x.shape, x.dtype)
        return (draw >= rate).astype(x.dtype) * x / (1 - rate)

    def alpha(self, key, x, rate):
        # The sign error of torch's reference: b is added where it is to be taken off.
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        slope = -1.7580993408473766
        a = ((1 - rate) * (1 + rate * slope**2)) ** -0.5
        return a * jnp.where(keep, x, slope) + a * rate * slope


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("title", "observed"),
    [
        ("rate -0.5, x = 1", "accepted: 0.667"),
        ("rate NaN, x = 1", "accepted: nan, gradient nan"),
        ("rate 1", "nan, gradient nan"),
        ("x = inf where it is dropped", None),
        ("int32 x = 1, rate 0.5", "ValueError"),
        ("dtype of y, bfloat16 x, traced float32 rate", "float32"),
        ("mask of a bfloat16 x", "another"),
        ("mask under jax_enable_x64", "the same"),
        ("kept for the backward pass, rate 0.1", "32 bits"),
        ("random bits drawn per element, rate 0.1", "64 bits"),
        ("bias of E[y], bfloat16 x, worst of five rates", None),
        ("alpha dropout of N(0, 1), mean at rates 0.1, 0.3, 0.5", None),
        ("alpha dropout given its mask, rate 0.25", None),
    ],
)
def test_naive_dropout_is_found_out(title, observed):
    seen = CASES[title](Naive())
    if observed is not None:
        assert seen.observed == observed
    assert seen.agrees is (observed in ("ValueError", "the same"))


class Nothing(Peer):
    """A library that offers nothing."""

    name = "math"


def test_what_is_not_offered_is_not_judged():
    for title, case in CASES.items():
        seen = case(Nothing())
        assert seen.agrees is None, title
        assert seen.observed.startswith("("), title


@pytest.mark.parametrize(
    ("expected", "raises", "agrees"),
    [
        ("works", (KeyError,), False),
        ("KeyError", (), True),
        ("an error", (KeyError,), True),
        ("an error", (ValueError,), False),
    ],
)
def test_a_case_that_raises_is_an_observation(expected, raises, agrees):
    def fail(peer):
        raise KeyError("why")

    seen = Case("fails", expected, fail, raises)(Nothing())
    assert seen == Observation("KeyError", agrees, None, "'why'")


def test_texts():
    assert number(-0.0) == "0"
    assert number(2184.6) == "2180"
    assert number(float("nan")) == "nan"
    assert values(Nothing(), [2.0, 0.0, 2.0]) == "0, 2"
    assert values(Nothing(), range(9)) == "0 to 8"
    folder = "/" + "a/b-c"
    assert plain(f"\x1b[1mat {folder}/d.py:3\n of") == "at d.py:3 of"
    assert plain("see https://a.b/c/d or 1/2") == "see https://a.b/c/d or 1/2"


def test_counts():
    key, x = jax.random.key(0), jnp.ones((8, 16))
    assert residual_bits(jnp.sin, x) == 32
    # JAX draws a block of 64 bits for each word of 32.
    assert threefry_bits(lambda x: jax.random.bits(key, x.shape), x) == 64
    # Twenty exclusive ors are the rounds of one block: these are two, of 64 bits.
    twice = jax.jit(lambda x: jax.lax.fori_loop(0, 40, lambda _, y: y ^ 1, x))
    assert stream_bits(twice, jnp.ones((8, 16), jnp.int32)) == 128


def row(library, observed, agrees, cost=float("nan")):
    words = {"library": library, "observed": observed, "agrees": agrees}
    return ROW | words | {"cost": cost}


def test_tables_mark_failures_and_name_who_does_better():
    rows = [row("jdrop", "1|2", "False"), row("flax.linen", "0", "True")]
    source = records.provenance("benchmarks.behaviour")
    source["libraries"] = {
        "jdrop": {"version": "1", "call": "f(x)"},
        "haiku": {"missing": "not installed"},
    }
    tables = behaviour_page.tables(pd.DataFrame(rows), source)
    assert "| rate 1 | 0, gradient 0 | ✗ 1\\|2 | 0 |" in tables["functions"]
    assert "| haiku | - | not installed |" in tables["libraries"]
    assert tables["better"] == "- rate 1: jdrop 1|2; flax.linen 0."
    assert tables["family"] == ""
    assert broken(pd.DataFrame(rows)) == ["jdrop: rate 1: 1|2"]


@pytest.mark.parametrize(("cost", "names"), [(0.5, ["torch"]), (1.0, [])])
def test_a_lower_cost_is_better(cost, names):
    rows = [row("jdrop", "a", "True", 1.0), row("torch", "b", "True", cost)]
    assert list(behaviour_page.better(pd.DataFrame(rows)).library) == names
    assert not broken(pd.DataFrame(rows))


def test_page_shows_what_the_results_say():
    csv = records.ROOT / behaviour.CSV
    rows, source = records.read(csv), records.read_sources(csv)["behaviour"]
    page = (records.ROOT / behaviour.PAGE).read_text()
    assert records.fill(page, behaviour_page.tables(rows, source)) == page
    assert broken(rows) == []
    assert list(source["libraries"]) == list(PEERS)
    for name, library in source["libraries"].items():
        found = rows[rows.library == name]
        expected = [] if "missing" in library else cases_of(name)
        assert list(found.case) == [case.title for case in expected]
        assert list(found.expected) == [case.expected for case in expected]


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["behaviour", *map(str, words)])
    status = behaviour.main()
    return status, capsys.readouterr()


def test_command_writes_rows_and_page(monkeypatch, capsys, tmp_path):
    words = ["--peers", "jdrop", "--only", "rate -0.5", "--output", tmp_path]
    status, printed = run(monkeypatch, capsys, *words)
    assert status == 0
    last = json.loads(printed.out.splitlines()[-1])
    assert last == {"rows": 1, "missing": [], "broken": []}
    rows = records.read(tmp_path / behaviour.CSV)
    [found] = rows.drop(columns="cost").to_dict("records")
    assert found == {
        **{"case": "rate -0.5, x = 1", "library": "jdrop", "expected": "an error"},
        **{"observed": "ValueError", "agrees": "True"},
    }
    line = "| rate -0.5, x = 1 | an error | ValueError |"
    assert line in (tmp_path / behaviour.PAGE).read_text()
    assert line in printed.out
    source = records.read_sources(tmp_path / behaviour.CSV)["behaviour"]
    assert source["libraries"]["jdrop"]["call"] == "jdrop.dropout(key, x, rate)"


@pytest.mark.parametrize("agrees", [False, True])
def test_a_broken_promise_is_reported(agrees, monkeypatch, capsys):
    seen = row("jdrop", "words", str(agrees))
    about = {"version": "1", "call": "f(x)", "rows": [seen]}
    monkeypatch.setattr(behaviour, "look_apart", lambda name, only: about)
    status, printed = run(monkeypatch, capsys, "--peers", "jdrop")
    assert status == (not agrees)
    broken = json.loads(printed.out.splitlines()[-1])["broken"]
    assert broken == ([] if agrees else ["jdrop: rate 1: words"])


def test_a_missing_jdrop_is_reported(monkeypatch, capsys):
    found = {"missing": "stopped with status -11"}
    monkeypatch.setattr(behaviour, "look_apart", lambda name, only: found)
    status, printed = run(monkeypatch, capsys, "--peers", "jdrop")
    assert status == 1
    assert json.loads(printed.out.splitlines()[-1])["missing"] == ["jdrop"]
    assert "stopped with status -11" in printed.out


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module"), "not installed (No module)"),
        (RuntimeError("no nms"), "cannot be imported (RuntimeError: no nms)"),
    ],
)
def test_a_library_that_cannot_be_imported_is_a_finding(error, message, monkeypatch):
    def fail():
        raise error

    monkeypatch.setitem(PEERS, "torch", fail)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    assert behaviour.look("torch", "") == {"missing": message}


def test_a_library_that_dies_is_a_finding(monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    found = behaviour.look_apart("jdrop", "")
    assert found == {"missing": "stopped with status 1: said nothing"}


def test_a_library_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr(behaviour, "TIMEOUT_SECONDS", 0.01)
    found = behaviour.look_apart("jdrop", "")
    assert found == {"missing": "took longer than 0.01 s"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "no such"], "has 'no such' in its title"),
        (["--peers", "timm", "--only", "rate NaN"], "no case of these libraries has"),
        (["--peers", "nobody"], "invalid choice: 'nobody'"),
    ],
)
def test_wrong_arguments(words, message, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, capsys, *words)
    assert message in capsys.readouterr().err
