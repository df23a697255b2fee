"""The benchmark of speed: plan, rows, verdicts, page, figures, and a tiny run."""

import functools
import json
import math
import os
import subprocess
import sys

import jax
import pandas as pd
import pytest

from benchmarks import (
    contestants,
    exact,
    ops,
    plots,
    records,
    speed,
    train_step,
    trainer,
)
from benchmarks.contestants import FLAX, FLOOR, JDROP
from benchmarks.family import BY_HAND
from benchmarks.ops import Case
from benchmarks.records import read, read_sources, save
from benchmarks.table import quartile_rows, row, tidy
from benchmarks.targets import contests, family, headline, targets, trainers
from examples import loop

PHILOX = "flax.linen, philox4x32"
HARDWARE = {"processor": "A Machine", "cores": 2, "backend": "cpu", "device": "cpu"}
SOURCE = {
    "hardware": HARDWARE,
    "versions": {"jax": "1"},
    "commit": "abc",
    "date": "2025-01-01",
}


def contest(figures, memory="warm", case="forward", shape=(4096, 4096), rate=0.1):
    """Rows of a contest in which each contestant has one figure for everything."""
    metrics = ("time", "ratio", "cpu ratio")
    results = {
        name: dict.fromkeys(metrics, (0.9 * figure, figure, 1.1 * figure))
        for name, figure in figures.items()
    }
    about = {"case": case, "shape": shape, "dtype": "float32", "rate": rate}
    where = {"section": "ops", "memory": memory}
    return [where | line for line in quartile_rows(results, FLOOR, **about)]


def test_every_target_is_measured():
    planned = {
        (section, case.kind, "x".join(map(str, case.shape)), case.dtype, case.rate)
        for (section, state), cases in ops.PLAN.items()
        for case in cases
        if state == "warm"
    }
    for target in targets():
        if target.section == "train_step":
            assert target.case in train_step.NETWORKS
            assert target.rate in train_step.RATES
        elif target.section != "memory":
            assert target[2:7] in planned, target


def test_both_states_of_memory_have_the_headline_cases():
    warm, fresh = ops.PLAN["ops", "warm"], ops.PLAN["ops", "fresh"]
    assert {case.kind for case in fresh} == {"forward", "gradient", "alpha"}
    about = {(case.kind, case.shape, case.dtype, case.rate) for case in warm}
    for case in fresh:
        assert (case.kind, case.shape, case.dtype, case.rate) in about


def test_memory_settings_belong_to_the_warm_state_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert speed.environment("warm")["MALLOC_ARENA_MAX"] == "1"
    assert not any(name.startswith("MALLOC_") for name in speed.environment("fresh"))
    assert speed.environment("fresh")["JAX_ENABLE_COMPILATION_CACHE"] == "false"


def test_rows_are_tidy_and_a_run_says_where_it_comes_from(tmp_path):
    path = tmp_path / "speed.csv"
    exact = row(FLAX, "kept", 17179869957, "B", (16, 5), section="memory")
    rows = tidy([exact, *contest({FLOOR: 1.0, JDROP: 1.23456, "torch": 1e-5})])
    later = SOURCE | {"date": "2026-02-02"}
    save(path, rows, {"memory": SOURCE, "ops": later})
    pd.testing.assert_frame_equal(read(path), rows)
    # Four digits, and no keys where a library has none.
    [seconds] = rows[(rows.contestant == "jdrop") & (rows.metric == "time")].value
    assert seconds == 1.235
    assert list(rows[rows.contestant == "torch"]["keys"].unique()) == [""]
    assert "2025-01-01 and 2026-02-02" in plots.source(path)


def test_a_target_is_judged_in_warm_memory_alone():
    figures = {FLOOR: 1.0, JDROP: 1.5, FLAX: 9.0, PHILOX: 4.0, "torch": 8.0}
    rows = contest(figures) + contest(figures, "fresh") + contest(figures, rate=0.25)
    warm, fresh, over = headline(tidy(rows)).to_dict("records")
    assert (warm["target"], warm["met"]) == ("1.5", "yes")
    assert warm["what"] == "forward, float32 4096x4096, rate 0.1"
    assert warm["jdrop"] == "1.5 (1.35 to 1.65)"
    assert warm["flax"] == "9"
    assert warm["flax, best keys"] == f"4 ({PHILOX})"
    assert warm["best other"] == "8 (torch)"
    assert (fresh["memory"], fresh["target"], fresh["met"]) == ("fresh", "", "")
    assert (over["target"], over["met"]) == ("1.25", "**no**")
    assert contests(tidy(rows)) == [True] * 3
    assert contests(tidy(contest(figures | {JDROP: 5.0}))) == [False]
    assert contests(tidy(contest({FLOOR: 1.0, JDROP: 5.0}))) == []


def test_small_arrays_are_judged_by_flax_with_its_best_keys():
    figures = {FLOOR: 1.0, JDROP: 3.0, FLAX: 9.0, PHILOX: 4.0}
    [line] = headline(tidy(contest(figures, shape=(128, 512)))).to_dict("records")
    assert (line["jdrop"], line["met"]) == ("0.75 (0.675 to 0.825)", "yes")
    [line] = headline(tidy(contest(figures | {JDROP: 4.0}, shape=(128, 512)))).to_dict(
        "records"
    )
    assert line["met"] == "**no**"


def test_growth_is_the_slope_of_time():
    rows = [
        row(JDROP, "time", 1e-9 * size**power, "s", (size // 2000, 2000))
        | {"section": "growth"}
        for power in (1.5,)
        for size in (10**6, 10**7, 10**8, 10**9)
    ]
    [line] = headline(tidy(rows)).to_dict("records")
    assert line["what"] == "growth of time from 1e+07 to 1e+09 elements, as a power"
    assert (line["jdrop"], line["met"]) == ("1.5", "**no**")


def test_the_page_shows_the_results_and_they_are_small():
    run = plots.newest(records.RESULTS)
    page, blocks = plots.PAGE.read_text(), plots.block(run)
    assert page == records.fill(page, blocks), "python -m benchmarks.plots"
    shown = blocks["results"]
    assert shown.count("| fresh |") >= 5
    figures = [plots.FOLDER / plots.picture(run, name) for name in plots.FIGURES]
    assert all(f"]({plots.FOLDER.name}/{figure.name})" in shown for figure in figures)
    assert max(figure.stat().st_size for figure in figures) < 100_000
    assert sum(f.stat().st_size for f in run.parent.iterdir()) < 500_000


def test_no_run_to_draw_is_an_error_that_says_how_to_get_one(tmp_path):
    with pytest.raises(SystemExit, match="run `python -m benchmarks.speed` first"):
        plots.newest(tmp_path)
    with pytest.raises(SystemExit, match="none.csv is not a run of benchmarks.speed"):
        plots.main([str(tmp_path / "none.csv"), "--out", str(tmp_path)])


def test_a_section_that_fails_stops_no_other(tmp_path, capsys):
    def launch(settings):
        if settings.section == "calls":
            raise OSError("killed")
        [line] = contest({JDROP: 1.0})[:1]
        seconds = {"seconds": {settings.memory: 1.0}}
        return [line | {"section": settings.section}], SOURCE | seconds

    words = ["--only", "ops", "calls", "growth", "--out", str(tmp_path)]
    assert speed.main(words, launch) == 1
    output = capsys.readouterr()
    line = json.loads(output.out.splitlines()[-1])
    assert line["failed"] == ["calls"]
    assert "killed" in output.err
    path = tmp_path / "speed-a-machine-2-cores.csv"
    assert line["results"] == str(path)
    assert set(read(path).section) == {"ops", "growth"}
    assert read_sources(path)["ops"]["seconds"] == {"warm": 1.0, "fresh": 1.0}


# Of a tree, and of three arrays.
FAMILY = {"drop_connect": (2, 32, 8), "plain_attention": (1, 8, 2, 4)}


@pytest.fixture
def tiny(monkeypatch):
    """The benchmark of next to nothing, without the libraries that take long."""
    # The first time, tyro and SciPy use torch where `sys.modules` names it.
    trainer.build(trainer.parse([]))
    for library in ("torch", "timm", "haiku", "equinox"):
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(contestants, "KEYS", ("threefry2x32",))
    monkeypatch.setattr(exact, "LIBRARIES", ("jdrop",))
    small, rate = (2, 64), 0.5
    plan = {
        ("ops", "warm"): [
            Case("forward", small, rate=rate),
            Case("alpha", small, rate=rate),
            Case("channel", (2, 4, 4, 8), rate=rate),
            Case("parts", small, rate=rate),
        ],
        ("ops", "fresh"): [Case("forward", small, rate=rate)],
        ("calls", "warm"): [
            Case(kind, small, rate=rate) for kind in ("eager", "call", "key")
        ],
        ("growth", "warm"): [Case("forward", small, rate=rate)],
        ("family", "warm"): [
            Case(kind, shape, rate=rate) for kind, shape in FAMILY.items()
        ],
    }
    monkeypatch.setattr(ops, "PLAN", plan)
    networks = {"a": (2, (8,), (4,)), "b": (2, (8,), (4,))}
    monkeypatch.setattr(train_step, "NETWORKS", networks)
    for module in (exact, train_step):
        monkeypatch.setattr(module, "RATES", (rate,))
    for module in (ops, exact):
        monkeypatch.setattr(module, "LARGE", small)
    sizes = {"SIZES": [10**4], "BLOCKS": 1, "TOKENS": 4, "WIDTH": 4, "HIDDEN": 8}
    for name, size in (sizes | {"THIN": [(2, 33)], "RATE": rate}).items():
        monkeypatch.setattr(exact, name, size)
    monkeypatch.setattr(exact, "COUNTED", (2, 64))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny", "standard_promotion")
def test_a_tiny_run_measures_every_section_and_can_be_drawn(tmp_path, capsys):
    words = ["--quick", "--out", str(tmp_path)]
    assert speed.main(words, speed.measure) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["failed"] == []
    [path] = tmp_path.glob("speed-*-quick.csv")
    assert line["results"] == str(path)
    rows, sources = read(path), read_sources(path)
    assert set(rows.section) == set(sources) == set(speed.SECTIONS)
    assert set(sources["ops"]["seconds"]) == {"warm", "fresh"}
    assert "torch" in sources["ops"]["left out"]
    assert {"date", "command", "commit", "versions"} < set(sources["ops"])
    ops_rows = rows[rows.section == "ops"]
    kinds = {case.kind for case in ops.PLAN["ops", "warm"]}
    assert set(ops_rows.case) == kinds | {"faults"}
    timed = rows[rows.metric == "time"]
    assert (timed.low > 0).all()
    assert (timed.low <= timed.value).all() and (timed.value <= timed.high).all()
    # One word of 32 bits for 32 elements.
    kept = rows[(rows.metric == "kept") & (rows.contestant == "jdrop")]
    assert kept.value.min() >= 1 / 8
    assert set(rows[rows.metric == "fused draws"].value) == {0}
    ops_of_family = family(rows).set_index("op")
    assert list(ops_of_family.index) == list(FAMILY)
    # Two leaves of 32 rows by 8 columns, of which the biases keep nothing, and a rate.
    kept = ops_of_family["bits kept"]["drop_connect"]
    assert kept == float(f"{2 * (8 + 1) * 32 / (2 * (32 * 8 + 8)):.4g}")
    assert (ops_of_family[BY_HAND] > 0).all()
    table = trainers(rows)
    assert table["in"][0] == "jdrop, linen"
    assert all(int(text.replace(",", "")) > 0 for text in table["us a step"])
    drawn = plots.draw(path, tmp_path)
    assert {figure.stem.rpartition("-")[2] for figure in drawn} == set(plots.FIGURES)
    assert min(figure.stat().st_size for figure in drawn) > 3_000


@pytest.mark.slow
def test_the_command_measures_in_processes_of_their_own(tmp_path):
    words = ["--quick", "--only", "program", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *words],
        cwd=records.ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["failed"] == []
    assert set(read(speed.Path(line["results"])).section) == {"program"}


@pytest.mark.slow
@pytest.mark.parametrize("case", trainer.CASES)
def test_pytorch_trains_the_network_of_the_trainer(case):
    torch = pytest.importorskip("torch")
    config = trainer.parse(trainer.CASES[case])
    make = trainer._mlp if config.model == "mlp" else trainer._cnn
    rates = (config.input_rate, *config.rate)[config.model != "mlp" :]
    network = make(torch.nn, *rates)
    create = functools.partial(loop.create_state, trainer.build(config).method)
    params = jax.tree.leaves(jax.eval_shape(create, jax.random.key(0)).params)
    assert sorted(math.prod(array.shape) for array in params) == sorted(
        array.numel() for array in network.parameters()
    )
    found = [layer.p for layer in network if isinstance(layer, torch.nn.Dropout)]
    assert found == list(rates)
