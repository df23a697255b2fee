"""The behaviour tables: jdrop meets every row, and the probes can tell who does not."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import behaviour, behaviour_page
from benchmarks.peers import PEERS
from benchmarks.peers.base import NotOffered, Peer
from benchmarks.peers.jax_peers import JaxPeer, Jdrop
from benchmarks.probes import DROPOUT, UNITS, costs, edges, masks, units, values
from benchmarks.probes.observation import (
    Observation,
    Probe,
    distinct,
    number,
    plain,
    probe,
)

ROOT = Path(__file__).parent.parent
PROBES = (*DROPOUT, *UNITS)

# Rows that say nothing about jdrop's functions, or whose value other tests pin.
UNJUDGED = {
    "only a key for `params`, rate 0.5",
    "fingerprint of a mask, to compare runs",
    "Gaussian dropout, rate 1",
    "drop block, 7x7, block 7, rate 0.1: dropped",
}
ERRORS = {
    "rate -0.5, x = 1": "ValueError",
    "rate 1.5, x = 1": "ValueError",
    "rate NaN, x = 1": "ValueError",
    "an array of rates, one a column": "ValueError",
    "the mode by position: True": "TypeError",
    "no key, rate 0.5": "TypeError",
    "three keys as one key": "ValueError",
    "one key used twice, jax_debug_key_reuse": "KeyReuseError",
    "int32 x = 1, rate 0.5": "TypeError",
    "int32 x = 1, rate 0": "TypeError",
    "broadcast_dims (2,) of a 2-d x": "ValueError",
    "broadcast_dims (5,) of a 2-d x": "ValueError",
    "alpha dropout, rate 1.5": "ValueError",
}


@pytest.fixture(scope="module")
def jdrop_peer():
    return Jdrop()


@pytest.mark.parametrize(
    "row",
    [row for row in PROBES if row.title not in UNJUDGED],
    ids=lambda row: row.title,
)
def test_jdrop_meets(row, jdrop_peer):
    seen = row(jdrop_peer)
    assert seen.meets, f"{seen.text}: {seen.detail}"
    if row.title in ERRORS:
        assert seen.text == ERRORS[row.title]


def test_every_exception_names_a_row():
    titles = [row.title for row in PROBES]
    assert len(set(titles)) == len(titles)
    assert UNJUDGED | set(ERRORS) <= set(titles)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("row", "text"),
    [
        (edges.negative_rate, "accepted: 0.667"),
        (edges.rate_one, "0, gradient 0"),
        (edges.traced_rate, "TracerBoolConversionError"),
        (values.shared_axis_outside, "IndexError"),
        (masks.mapped_rbg, "another"),
        (costs.drawn_at_a_half, "64 bits"),
        (units.alpha_mean, "(not offered)"),
    ],
    ids=lambda value: value.title if isinstance(value, Probe) else "",
)
def test_flax_is_seen_as_it_is(row, text):
    assert row(PEERS["flax.nnx"]()).text == text


class Naive(JaxPeer):
    """Dropout as it is often written: no checks, a product, a mask in x's dtype."""

    name = "naive"

    def drop(self, key, x, rate, **options):
        if options:
            raise NotOffered("no option")
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
    "row",
    [
        edges.negative_rate,
        edges.rate_not_a_number,
        edges.rate_one,
        edges.slope_of_the_rate,
        values.dropped_infinity,
        values.dtype_of_a_traced_rate,
        masks.low_precision,
        costs.residuals,
        units.alpha_mean,
    ],
    ids=lambda row: row.title,
)
def test_probes_see_what_naive_dropout_does_wrong(row):
    assert row(Naive()).meets is False


def test_a_probe_that_raises_is_an_observation():
    @probe("fails", "works")
    def fails(peer):
        raise KeyError("why")

    assert fails(Peer()) == Observation("KeyError", False, None, "'why'")


def test_what_is_not_offered_is_not_judged():
    for row in PROBES:
        seen = row(Peer())
        assert seen.meets is None, row.title
        assert seen.text.startswith("("), row.title


def test_texts():
    assert number(-0.0) == "0"
    assert number(2184.6) == "2180"
    assert number(float("nan")) == "nan"
    assert distinct(jnp.array([2.0, 0.0, 2.0])) == "0, 2"
    assert distinct(jnp.arange(9.0)) == "0 to 8"
    folder = "/" + "a/b-c"
    assert plain(f"\x1b[1mat {folder}/d.py:3\n of") == "at d.py:3 of"
    assert plain("see https://a.b/c/d or 1/2") == "see https://a.b/c/d or 1/2"


def column(text, meets, cost=None):
    seen = {"text": text, "meets": meets, "cost": cost, "detail": ""}
    return {"version": "1", "call": "f(x)", "rows": {"rate 1": seen}}


def test_page_marks_failures_and_names_who_does_better():
    report = {
        "date": "2020-01-01",
        "python": "3.11",
        "jax": "1",
        "system": "here",
        "command": "look",
        "peers": {
            "jdrop": column("1|2", False),
            "flax.linen": column("0", True),
            "haiku": {"missing": "not installed"},
        },
    }
    page = behaviour_page.render(report)
    assert "| rate 1 | 0, gradient 0 | ✗ 1\\|2 | 0 |" in page
    assert "| haiku | - | not installed |" in page
    assert page.endswith("- rate 1: jdrop 1|2; flax.linen 0.\n")
    report["peers"]["jdrop"] = column("1", True, cost=1.0)
    assert not list(behaviour_page.better(report))
    report["peers"]["flax.linen"] = column("0", True, cost=0.5)
    assert list(behaviour_page.better(report)) == [("rate 1", {"flax.linen": "0"})]


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.behaviour", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_writes_the_page_and_the_results(tmp_path):
    words = ["--peers", "jdrop", "haiku", "--only", "rate -0.5", "--output", tmp_path]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["rows"] == 1
    assert last["jdrop_falls_short"] == []
    assert "jdrop" in last["seen"]
    assert {"haiku"} == (last["seen"].keys() | last["missing"].keys()) - {"jdrop"}
    page = (tmp_path / "docs" / "behaviour.md").read_text()
    assert "| rate -0.5, x = 1 | an error | ValueError |" in page
    [results] = (tmp_path / "benchmarks" / "results").glob("behaviour-*.json")
    report = json.loads(results.read_text())
    rows = report["peers"]["jdrop"]["rows"]
    assert rows["rate -0.5, x = 1"]["text"] == "ValueError"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "no such row"], "no row has 'no such row' in its title"),
        (["--peers", "nobody"], "invalid choice: 'nobody'"),
    ],
)
def test_wrong_arguments(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["behaviour", *words])
    with pytest.raises(SystemExit, match="2"):
        behaviour.main()
    assert message in capsys.readouterr().err


def test_page_of_the_docs_is_a_full_run():
    page = (ROOT / "docs" / "behaviour.md").read_text()
    for row in PROBES:
        assert isinstance(row, Probe)
        assert f"| {row.title} |" in page, row.title
    assert "`python -m benchmarks.behaviour` wrote this page" in page
