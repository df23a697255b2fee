"""Runs that are saved, killed, resumed and stopped."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jdrop
from examples import config, loop, report, training
from examples.checkpoint import CheckpointError, Checkpoints
from examples.train import main

pytestmark = pytest.mark.usefixtures("trainer")

ROOT = Path(__file__).parents[2]
# Four evaluations, of one compiled program for every test that asks for no other.
SHORT = "--quiet --train-size 64 --batch-size 32 --steps 8 --eval-every 2".split()
SHORT += ["--devices", "1"]
DEADLINE = 120
# What decides the future in more ways: averages, the best so far, a schedule of rates.
NETWORKS = {
    "mlp": "--patience 9 --rate-schedule curriculum --accumulate 2",
    "cnn": "--model cnn --batch-norm --channel-rate --flax nnx --patience 9",
}


def train(*arguments: str | Path) -> int:
    return main(list(map(str, arguments)))


def summary_of(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return loaded


def history_of(run: Path) -> list[dict[str, float]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{n: v for n, v in row.items() if n != "seconds"} for row in rows]


def stop_after(evaluations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends a signal during the steps before an evaluation."""
    fit = loop.fit

    def interrupted(*arguments: Any, **budget: Any) -> Iterator[Any]:
        for i, result in enumerate(fit(*arguments, **budget)):
            if i + 1 == evaluations:
                signal.raise_signal(signal.SIGTERM)
            yield result

    monkeypatch.setattr(loop, "fit", interrupted)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that a signal ended after 4 of 8 steps."""
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        assert train(*SHORT, "--out", tmp_path / "run") == 143
    return tmp_path / "run"


@pytest.mark.parametrize(
    "network", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("evaluations", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_goes_on_as_if_it_had_not_stopped(
    network: str, evaluations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*SHORT, *NETWORKS[network].split()]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(*arguments, "--out", whole) == 0
    with monkeypatch.context() as patch:
        stop_after(evaluations, patch)
        assert train(*arguments, "--out", parts) == 143
    before = summary_of(parts)
    assert before["steps"] == 2 * evaluations
    # The options may be given once more.
    assert train(*arguments, "--resume", parts) == 0
    after = summary_of(parts)
    assert after["params_sha256"] == summary_of(whole)["params_sha256"]
    assert after["params_sha256"] != before["params_sha256"]
    assert after["test_loss"] == summary_of(whole)["test_loss"]
    assert after["ended"] == "complete"
    assert history_of(parts) == history_of(whole)
    # A run that is complete is only written once more.
    assert train("--quiet", "--resume", parts) == 0
    assert summary_of(parts)["params_sha256"] == after["params_sha256"]


def start(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "examples.train", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_run_that_was_killed_while_it_saved_goes_on(tmp_path: Path) -> None:
    arguments = [*SHORT, "--steps", "40"]
    assert train(*arguments, "--out", tmp_path / "whole") == 0
    run, saved = tmp_path / "run", tmp_path / "run" / report.CHECKPOINTS
    process = start(*arguments, "--checkpoint-every", "1", "--out", run)
    limit = time.monotonic() + DEADLINE
    try:
        # Under way beside one that is done.
        while not (list(saved.glob("*tmp*")) and list(saved.glob("[1-9]*[0-9]"))):
            assert time.monotonic() < limit
            assert process.poll() is None
    finally:
        process.kill()
        process.wait(timeout=DEADLINE)
    assert not (run / "summary.json").exists()
    assert train("--quiet", "--resume", run) == 0
    expected = summary_of(tmp_path / "whole")["params_sha256"]
    assert summary_of(run)["params_sha256"] == expected


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_that_was_killed_at_any_moment_goes_on(
    network: str, tmp_path: Path
) -> None:
    arguments = [*SHORT, *NETWORKS[network].split(), "--steps", "100"]
    arguments += ["--checkpoint-every", "1"]
    started = time.monotonic()
    process = start(*arguments, "--out", tmp_path / "whole")
    assert process.wait(timeout=DEADLINE) == 0
    seconds = time.monotonic() - started
    expected = summary_of(tmp_path / "whole")["params_sha256"]
    for i in range(3):
        run = tmp_path / str(i)
        process = start(*arguments, "--out", run)
        # Every moment is as good as another one.
        time.sleep(random.uniform(0.4, 1) * seconds)
        process.kill()
        process.wait(timeout=DEADLINE)
        again = ["--resume", run] if (run / "config.json").exists() else ["--out", run]
        # Not in this process: its eight devices have threads enough to add up the
        # gradients of convolutions in another order.
        process = start(*arguments, *again)
        assert process.wait(timeout=DEADLINE) == 0
        assert summary_of(run)["params_sha256"] == expected
        assert history_of(run) == history_of(tmp_path / "whole")


def test_a_run_without_a_checkpoint_starts_again(stopped: Path) -> None:
    shutil.rmtree(stopped / report.CHECKPOINTS)
    assert train("--quiet", "--resume", stopped) == 0
    assert [row["step"] for row in history_of(stopped)] == [2, 4, 6, 8]


def test_another_configuration_is_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for arguments, message in {
        ("--rate", "0.3"): "--rate is (0.5, 0.5) in",
        ("--steps", "9"): f"--steps is 8 in {stopped}; got 9. A run goes on with what",
        ("--batch-norm",): "--batch-norm is False in",
    }.items():
        assert train("--quiet", *arguments, "--resume", stopped) == 2
        assert message in capsys.readouterr().err
    before = [path.name for path in (stopped / report.CHECKPOINTS).iterdir()]
    assert before == ["4"]
    # What decides no result may change.
    assert train("--quiet", "--checkpoint-every", "2", "--resume", stopped) == 0


def test_another_stream_is_refused(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jdrop, "STREAM", "jdrop-9")
    assert train("--quiet", "--resume", stopped) == 2
    words = capsys.readouterr().err
    assert "jdrop-9" in words
    assert jdrop.STREAM != "jdrop-9" or "stream" in words


def test_a_corrupt_checkpoint_is_refused_and_left_alone(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [path for path in (stopped / "checkpoints").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert train("--quiet", "--resume", stopped) == 2
    assert str(stopped / "checkpoints" / "4") in capsys.readouterr().err
    assert largest.read_bytes() == content
    # What came of the run before is still there.
    assert summary_of(stopped)["steps"] == 4


def test_a_configuration_that_is_no_one_s_is_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in ("", "[]", "{}", '{"options": {"speed": 9}}'):
        (stopped / "config.json").write_text(content)
        assert train("--quiet", "--resume", stopped) == 2
        assert f"{stopped} holds no run of this version" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_written_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise CheckpointError("checkpoints/2 could not be written: disk full")

    monkeypatch.setattr(Checkpoints, "save", full)
    arguments = [*SHORT, "--checkpoint-every", "1", "--out", tmp_path]
    assert train(*arguments) == 1
    output = capsys.readouterr()
    assert "checkpoints/2 could not be written: disk full" in output.err
    # What was learnt is written where it can be.
    assert json.loads(output.out)["steps"] == 2
    assert set(report.FILES) <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("every", "interval", "expected"),
    [
        (3, 60.0, [4, 6, 8]),
        (config.AUTO, 60.0, [8]),
        (config.AUTO, 0.0, [2, 4, 6, 8]),
    ],
)
def test_checkpoints_are_saved_when_they_are_due(
    every: int,
    interval: float,
    expected: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Checkpoints, "save", lambda _, step, *rest: saved.append(step))
    monkeypatch.setattr(training, "INTERVAL", interval)
    given = [] if every == config.AUTO else ["--checkpoint-every", str(every)]
    assert train(*SHORT, *given, "--out", tmp_path) == 0
    # The last one may have been due already.
    assert list(dict.fromkeys(saved)) == expected


def test_patience_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*SHORT, "--schedule", "constant", "--steps", "99", "--patience", "2"]
    evaluate, losses = loop.as_row, iter([3.0, 1.0, 2.0, 1.5, 0.0])

    def row(parts: dict[str, Any]) -> dict[str, float]:
        told = evaluate(parts)
        if "validation_loss" in told:
            told["validation_loss"] = next(losses)
        return told

    with monkeypatch.context() as patch:
        patch.setattr(loop, "as_row", row)
        assert train(*arguments, "--out", tmp_path / "early") == 0
    early = summary_of(tmp_path / "early")
    assert early["ended"] == "no lower validation loss for 2 evaluations"
    assert (early["steps"], early["best_step"]) == (8, 4)
    assert early["validation_loss"] == 1.0
    # It does not go on where its patience was at an end: it is only written once more.
    assert train("--quiet", "--resume", tmp_path / "early") == 0
    again = summary_of(tmp_path / "early")
    assert again["ended"] == early["ended"]
    assert (again["steps"], again["params_sha256"]) == (8, early["params_sha256"])
    assert (
        train(
            *SHORT, "--schedule", "constant", "--steps", "4", "--out", tmp_path / "four"
        )
        == 0
    )
    assert early["params_sha256"] == summary_of(tmp_path / "four")["params_sha256"]
