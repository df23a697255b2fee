"""The benchmark on tiny arrays, with whichever peers are installed but the heavy ones.

Times are not looked at, only that everything runs and that what is exact is so.
"""

import functools
import json
import statistics
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from benchmarks import plots, speed
from benchmarks.costs import (
    calls,
    contestants,
    figures,
    growth,
    memory,
    operations,
    plan,
    program,
    scaling,
    targets,
    timed_tables,
    timing,
    train_step,
)
from benchmarks.costs.contestants import FLOOR, JDROP
from benchmarks.costs.regimes import WARM, Settings, environment
from benchmarks.costs.report import markdown

ROOT = Path(__file__).parent.parent
OTHERS = ("torch", "haiku", "equinox", "flax.nnx")
TINY = Settings(regime="warm", quick=True, shrink=2048, without=OTHERS)
pytestmark = pytest.mark.usefixtures("standard_promotion")


def timed(*quartiles):
    """A contestant's figures, as the benchmark would write them."""
    figures = {"seconds": quartiles, "ratio": quartiles, "cpu_ratio": quartiles}
    return {name: list(q) for name, q in figures.items()} | {"calls": 1}


def contest(**changes):
    """A record of a contest, as the benchmark would write it."""
    record = {
        "kind": "forward",
        "case": "large",
        "regime": "warm",
        "shape": [4096, 4096],
        "dtype": "float32",
        "rate": 0.1,
        "reference": FLOOR,
        "rounds": 3,
        "results": {
            FLOOR: timed(0.9, 1.0, 1.1),
            JDROP: timed(1.4, 1.5, 1.6),
            "flax.linen, rbg": timed(1.9, 2.0, 2.1),
        },
    }
    return record | changes


@pytest.mark.parametrize(
    "case",
    [
        plan.Case("forward", "odd", (2, 70), "bfloat16", 0.25, everyone=True),
        plan.Case("gradient", "small", (2, 64), "float32", 0.1),
        plan.Case("pullback", "small", (2, 64), "float32", 0.1),
        plan.Case("alpha", "small", (2, 64), "float32", 0.1),
        plan.Case("channel", "channel", (2, 4, 4, 8), "float32", 0.1),
        plan.Case("parts", "small", (2, 64), "float16", 0.5),
    ],
    ids=lambda case: case.kind,
)
def test_a_contest_times_everyone_it_should(case):
    record = operations.contest(case, TINY)
    results = record["results"]
    assert results[FLOOR]["ratio"] == [1, 1, 1]
    assert all(r["seconds"] == sorted(r["seconds"]) for r in results.values())
    assert min(r["seconds"][0] for r in results.values()) > 0
    expected = {FLOOR, JDROP}
    if case.kind == "parts":
        expected |= {"draw", "apply"}
    elif case.kind != "alpha":
        peers = contestants.gather(OTHERS)
        names = [peer.name for peer in peers]
        expected |= set(names if case.everyone else contestants.SHORT_LIST) & set(names)
    assert set(results) == expected


def test_the_plan_has_every_case_of_the_targets():
    planned = {
        (case.kind, case.name, case.dtype, case.rate)
        for case in plan.cases(Settings(regime="warm"), "cpu")
    }
    elsewhere = {"eager", "compile", "train"}
    for target in targets.targets():
        if target.kind not in elsewhere:
            key = (target.kind, target.case, target.dtype, target.rate)
            assert key in planned, target.what
        elif target.kind == "train":
            assert target.case in train_step.NETWORKS


def test_the_plan_of_an_accelerator_spans_sizes_dtypes_and_rates():
    cases = list(plan.cases(Settings(regime="device"), "gpu"))
    for kind in ("forward", "gradient"):
        own = {(c.name, c.dtype, c.rate) for c in cases if c.kind == kind}
        assert len(own) == 4 * 3 * 3
    sizes = {case.shape[0] * case.shape[1] for case in cases if case.kind == "forward"}
    assert sizes == {10**6, 10**7, 10**8, 10**9}


def test_compilation_starts_from_scratch_every_time():
    traces = []
    entry = calls.compiling("f", lambda x: traces.append(x) or x + 1, jnp.ones(3))
    assert entry.run(3) > 0
    assert len(traces) == 3


@pytest.mark.parametrize(
    ("forward", "image", "widths"),
    [
        (train_step.mlp, (12,), (8, 8)),
        (train_step.cnn, (8, 8, 3), (4, 4, 4)),
    ],
)
def test_dropout_at_rate_0_leaves_a_training_step_as_it_is(forward, image, widths):
    key = jax.random.key(0)
    weights = train_step.init(key, image, widths)
    images = jax.random.normal(key, (2, *image))
    step = functools.partial(train_step.train_step, forward=forward)
    labels = jnp.zeros(2, jnp.int32)
    [own] = [peer for peer in contestants.gather(OTHERS) if peer.name == JDROP]

    @functools.partial(jax.jit, static_argnums=0)
    def loss(rate):
        drop = functools.partial(own.drop, rate=rate, dims=())
        return step(weights, images, labels, key, drop=drop)[1]

    _, expected = jax.jit(step)(weights, images, labels, key)
    assert loss(0.0) == pytest.approx(expected)
    assert loss(0.5) != pytest.approx(expected)


@pytest.mark.parametrize("name", ["large", "odd"])
def test_residuals_are_the_packed_words(name):
    peers = contestants.gather(OTHERS)
    record = memory.residuals(name, "float32", peers, TINY)
    own = record["results"][JDROP]
    rows, lanes = record["shape"]
    assert own["bytes"] == record["bytes_of_words"] == rows * -(-lanes // 32) * 4
    assert targets.verdicts([record])[0]["met"]


def test_a_dropout_allocates_its_words_and_not_much_more():
    small, large = growth.footprint((5, 2000)), growth.footprint((500, 2000))
    assert large["words"] == 100 * small["words"] == 500 * 63
    assert 4 * 500 * 63 <= large["temporary_bytes"] <= 100 * small["temporary_bytes"]


@pytest.mark.parametrize("placement", scaling.PLACEMENTS)
def test_devices_share_the_words_and_send_nothing(placement):
    [own] = [peer for peer in contestants.gather(OTHERS) if peer.name == JDROP]
    alone = scaling.partitioned(own, (1, 1), placement)
    shared = scaling.partitioned(own, (4, 2), placement)
    assert shared["words"] * 8 == alone["words"]
    assert shared["collectives"] == alone["collectives"] == {}


def test_collectives_are_found_where_there_are_some():
    mesh = jax.make_mesh((8,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones(64), jax.NamedSharding(mesh, P("a")))
        text = program.text_of(jax.jit(jnp.sum).lower(x).compile())
    assert program.collectives(text) == {"all-reduce": 1}


def test_rounds_give_medians_of_paired_ratios():
    seconds = {"floor": iter([1.0] * 9), "other": iter([3.0, 3.0, 3.0, 4.0, 2.0, 3.0])}
    entries = [
        timing.Entry(name, lambda calls, times=times: next(times))
        for name, times in seconds.items()
    ]
    results = timing.compete(entries, "floor", 3, 0.1)
    assert results["other"]["ratio"][1] == 3
    assert results["other"]["calls"] == 1
    assert timing.quartiles([1, 2, 3, 4, 5]) == [2, statistics.median(range(1, 6)), 4]


def test_a_second_trace_is_an_error():
    entry = timing.jitted("f", lambda x: x + 1, 1.0)
    entry.run(3)
    jax.clear_caches()
    with pytest.raises(AssertionError, match="f was traced 2 times, not once"):
        entry.run(1)


def test_a_target_is_met_or_not_by_its_own_contest():
    def verdict(**changes):
        return targets.verdicts([contest(**changes)])

    [row] = verdict()
    assert (row["target"], row["measured"], row["met"]) == (1.7, 1.5, True)
    assert (row["rival"], row["winner"]) == ("flax.linen, rbg", "jdrop")
    assert not verdict(rate=0.25)[0]["met"]
    assert verdict(regime="fresh") == []
    [row] = verdict(case="small")
    assert (row["measured"], row["met"]) == (0.75, True)


def test_memory_settings_belong_to_the_warm_regime_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert environment("warm").items() >= WARM.items()
    assert not any(name.startswith("MALLOC_") for name in environment("fresh"))
    assert environment("virtual")["JAX_PLATFORMS"] == "cpu"


def test_settings_cross_to_another_process_whole():
    assert Settings.from_json(TINY.to_json()) == TINY


def test_the_page_names_the_target_the_ratio_and_the_winner(tmp_path):
    records = [contest(rate=rate) for rate in (0.1, 0.25)] + [
        contest(kind="growth", elements=10**n, words=10**n, temporary_bytes=10**n)
        for n in (6, 7, 8)
    ]
    run = {
        "date": "2025-01-01",
        "command": "python -m benchmarks.speed",
        "quick": False,
        "shrink": 1,
        "hardware": {"backend": "cpu", "processor": "A Machine", "cores": 2}
        | {"device": "cpu"},
        "versions": {"jax": "1"},
        "absent": ["torch"],
        "seconds": 1.0,
        "targets": targets.verdicts(records),
        "records": records,
    }
    path = speed.write(run, tmp_path)
    assert path.name == "2025-01-01-a-machine-2-cores.json"
    page = path.with_suffix(".md").read_text()
    assert page == markdown(run)
    line = "forward, float32 4096x4096, rate 0.25 | 1.4 | 1.5 (1.4 to 1.6) | **no** |"
    assert line in page
    assert "| left out | torch |" in page
    assert plots.newest(tmp_path) == path
    assert {name for name, _ in figures.figures(run)} == {"rates", "sizes"}


def test_no_run_to_draw_is_an_error_that_says_how_to_get_one(tmp_path):
    with pytest.raises(SystemExit, match="run `python -m benchmarks.speed` first"):
        plots.newest(tmp_path)


@pytest.mark.slow
def test_the_command_runs_every_section_and_ends_in_a_line_of_json(tmp_path):
    command = [sys.executable, "-m", "benchmarks.speed", "--quick", "--shrink", "2048"]
    done = subprocess.run(
        [*command, "--without", *OTHERS, "--out", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["failed_processes"] == 0
    run = json.loads(Path(line["results"]).read_text())
    kinds = {record["kind"] for record in run["records"]}
    exact = {"faults", "residual", "peak", "scaling", "program", "work"}
    assert kinds == {*timed_tables.KINDS} - {"pullback"} | exact
    fused = [r["fused_draws"] for r in run["records"] if r["kind"] == "program"]
    assert fused and not any(fused)
    # The rows that do not depend on how busy the machine is.
    for row in run["targets"]:
        if row["row"].startswith(("residual", "growth of words", "growth of temp")):
            assert row["met"], row
