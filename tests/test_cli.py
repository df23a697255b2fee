"""The command line of the trainers, as its user sees it."""

import contextlib
import dataclasses
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from examples import architecture, arguments, options, record
from examples.errors import BadInput
from examples.run import choose_architecture
from examples.train import main

# optax's Adam divides by float ** int32, which strict promotion refuses.
pytestmark = pytest.mark.usefixtures("standard_promotion")

ROOT = Path(__file__).parents[1]
TWO_STEPS = ["--train-size", "64", "--batch-size", "32", "--epochs", "1"]
PNG = b"\x89PNG\r\n\x1a\n"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "examples.train", *arguments]


def rows(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("model", "flax"),
    [
        (["mlp"], "linen"),
        (["mlp", "--optimizer", "sgd", "--momentum", "0.5"], "nnx"),
        (["alpha_mlp"], "linen"),
        (["cnn", "--channel-rate", "--batch-norm"], "nnx"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_two_steps_of_every_trainer(
    model: list[str], flax: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", *model, "--flax", flax, *TWO_STEPS, "--out", str(tmp_path)]
    assert main(arguments) == 0
    output = capsys.readouterr()
    *words, last = output.out.splitlines()
    summary = json.loads(last)
    # Where standard error is no terminal, lines stand in for the bar.
    assert re.search(r"^epoch 1/1  train loss .* test loss .* %$", output.err, re.M)
    assert summary["steps"] == 2
    assert 0 <= summary["train_accuracy"] <= 1
    assert 0 <= summary["test_accuracy"] <= 1
    assert 0 < summary["test_loss"] < 20
    assert len(summary["params_sha256"]) == 64
    assert (summary["model"], summary["flax"]) == (model[0], flax)
    # Options of another model are no part of the summary.
    assert ("channel_rate" in summary) == (model[0] == "cnn")
    if "--channel-rate" in model:
        assert summary["channel_rate"] == 0.2
    assert any(f"{summary['params']:,}" in line for line in words)
    [row] = rows(tmp_path)
    assert row["step"] == 2
    assert row["test_loss"] == summary["test_loss"]
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert {path.name for path in tmp_path.iterdir()} == set(record.FILES)


def test_the_same_seed_gives_the_same_parameters_in_another_process(
    tmp_path: Path,
) -> None:
    hashes = []
    for run in ("first", "second"):
        out = ["--quiet", "--seed", "3", "--out", str(tmp_path / run)]
        done = subprocess.run(
            command(*TWO_STEPS, *out), cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        # Quiet: the line of JSON, and nothing else anywhere.
        assert done.stderr == ""
        [line] = done.stdout.splitlines()
        hashes.append(json.loads(line)["params_sha256"])
    assert hashes[0] == hashes[1]


def one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Runs arguments that are bad; returns the line of standard error."""
    try:
        status = main(arguments)
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        status = stop.code
    output = capsys.readouterr()
    assert status == 2
    assert output.out == ""
    [line] = output.err.splitlines()
    assert line.startswith("train: error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--dataset", "imagenet"], ["--dataset", "imagenet", "digits", "cifar10"]),
        (["--model", "vit"], ["--model", "vit", "alpha_mlp"]),
        (["--rate", "1.5"], ["--rate", "[0, 1]", "got 1.5", "Pass 0.5"]),
        (["--rate", "nan"], ["--rate", "[0, 1]", "got nan", "Pass 0.5"]),
        (["--rate", "-0.1"], ["--rate", "[0, 1]", "got -0.1", "Pass 0.5"]),
        (["--rate", "half"], ["--rate", "[0, 1]", "got half", "Pass 0.5"]),
        (["--input-rate", "2"], ["--input-rate", "[0, 1]", "got 2"]),
        (
            ["--model", "cnn", "--channel-rate", "inf"],
            ["--channel-rate", "[0, 1]", "got inf"],
        ),
        (["--epochs", "0"], ["--epochs", "1 or more", "got 0"]),
        (["--epochs", "1.5"], ["--epochs", "whole number", "got 1.5"]),
        (["--batch-size", "0"], ["--batch-size", "got 0"]),
        (["--learning-rate", "0"], ["--learning-rate", "positive", "got 0"]),
        (["--learning-rate", "inf"], ["--learning-rate", "finite", "got inf"]),
        (["--weight-decay", "-1"], ["--weight-decay", "0 or more", "got -1"]),
        (["--optimizer", "sgd", "--momentum", "1"], ["[0, 1)", "got 1"]),
        (["--seed", "-1"], ["--seed", "[0, 2^32)", "got -1"]),
        (["--train-size", "0"], ["--train-size", "got 0"]),
        (["--train-size", "1798"], ["--train-size", "at most 1197", "got 1798"]),
        (
            ["--train-size", "10", "--batch-size", "11"],
            ["--batch-size", "at most the 10", "got 11"],
        ),
        (["--epoch", "3"], ["--epoch"]),
        (["--variant", "relu"], ["--variant is for --model alpha_mlp"]),
        (["--channel-rate"], ["--channel-rate is for --model cnn"]),
        (["--batch-norm"], ["--batch-norm is for --model cnn"]),
        (["--model", "cnn", "--input-rate", "0"], ["--input-rate is for --model mlp"]),
        (["--momentum", "0.9"], ["--momentum is for --optimizer sgd"]),
        (
            ["--data-dir", "x"],
            ["--data-dir is for --dataset mnist or fashion_mnist or"],
        ),
        (["--download"], ["--download is for --dataset mnist or fashion_mnist or"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input_is_one_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = one_line(capsys, arguments)
    for part in parts:
        assert part in line


def test_data_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dataset", "mnist", "--data-dir", str(tmp_path), "--quiet"]
    line = one_line(capsys, arguments)
    assert str(tmp_path / "mnist") in line
    assert "--dataset digits" in line


def test_a_directory_that_cannot_be_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a directory")
    line = one_line(capsys, ["--out", str(tmp_path / "file" / "run")])
    assert f"--out {tmp_path / 'file' / 'run'} cannot be written to" in line


def test_a_run_is_not_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    line = one_line(capsys, ["--out", str(tmp_path)])
    assert "already holds a run (metrics.jsonl)" in line
    assert "--overwrite" in line
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"


def test_a_run_is_overwritten_when_asked_to(tmp_path: Path) -> None:
    for name in (*record.FILES, "notes.txt"):
        (tmp_path / name).write_text("before")
    with record.Record(tmp_path, overwrite=True) as run:
        run.add({"epoch": 1})
    assert rows(tmp_path) == [{"epoch": 1}]
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "notes.txt"}


def test_bad_input_shows_no_traceback_in_a_process() -> None:
    done = subprocess.run(
        command("--rate", "1.5"), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_library_that_is_not_installed() -> None:
    program = (
        "import sys; sys.modules['optax'] = None; from examples.train import main; "
        "sys.exit(main(['--quiet']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "optax" in line
    assert "pip install 'jdrop[examples]'" in line


def test_a_loss_that_is_not_finite_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--learning-rate", "1e30", "--out", str(tmp_path), "--quiet"]
    assert main([*TWO_STEPS, *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "after epoch 1: lower --learning-rate, now 1e+30" in line
    # Strict JSON has no NaN.
    assert rows(tmp_path)[0]["train_loss"] is None


def test_a_disk_that_fills_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: record.Record, row: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record.Record, "add", full)
    assert main([*TWO_STEPS, "--quiet", "--out", str(tmp_path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line


def test_an_interrupted_run_leaves_valid_files(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        command("--epochs", "1000000", "--out", str(tmp_path)),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(terminal)
    shown = ""
    # The bar has come to an epoch, and shows its results.
    while not re.search(r"epoch [1-9]\d*/1000000.*test loss \d", shown):
        shown += os.read(screen, 4096).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    # At its end, a terminal that nobody holds open is an error to read.
    with contextlib.suppress(OSError):
        while part := os.read(screen, 4096):
            shown += part.decode(errors="replace")
    os.close(screen)
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in shown
    last = shown.splitlines()[-1]
    # The line of an epoch may just have been written when the signal came.
    reported = {len(rows(tmp_path)), len(rows(tmp_path)) - 1}
    assert any(f"after epoch {n} of 1000000" in last for n in reported)


def test_help_says_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for flag in vars(options.parse([])):
        assert f"--{flag.replace('_', '-')} " in text
    rates = arguments.RATE
    assert f"mlp {rates['mlp']}, alpha_mlp {rates['alpha_mlp']}" in text
    assert f"relu variant {arguments.RELU_VARIANT_RATE}, cnn {rates['cnn']}" in text
    learning_rates = arguments.LEARNING_RATE
    assert f"mlp {learning_rates['mlp']}, alpha_mlp and cnn" in text
    assert f"and cnn {learning_rates['cnn']}; with sgd" in text
    epochs = arguments.DIGITS_EPOCHS
    assert ", ".join(f"{model} {n}" for model, n in epochs.items()) in text
    assert f"else {arguments.EPOCHS})" in text


def test_defaults_follow_the_other_options() -> None:
    default = options.parse([])
    assert (default.model, default.dataset, default.flax) == ("mlp", "digits", "linen")
    assert (default.rate, default.input_rate, default.epochs) == (0.5, 0.2, 100)
    none = options.parse(["--rate", "0"])
    assert (none.rate, none.input_rate) == (0, 0)
    mnist = options.parse(["--dataset", "mnist", "--data-dir", "x"])
    assert (mnist.epochs, mnist.data_dir) == (20, "x")
    relu = options.parse(["--model", "alpha_mlp", "--variant", "relu"])
    assert (relu.rate, relu.learning_rate) == (0.2, 0.001)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], architecture.mlp(10, 0.5, 0.2)),
        (["--rate", "0.1"], architecture.mlp(10, 0.1, 0.04)),
        (["--model", "alpha_mlp"], architecture.alpha_mlp(10, 0.05, "selu")),
        (
            ["--model", "alpha_mlp", "--variant", "relu"],
            architecture.alpha_mlp(10, 0.2, "relu"),
        ),
        (["--model", "cnn"], architecture.cnn(10, 0.25, 0.0, False)),
        (
            ["--model", "cnn", "--batch-norm", "--channel-rate"],
            architecture.cnn(10, 0.25, 0.2, True),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_choose_the_network(
    arguments: list[str], expected: architecture.Architecture
) -> None:
    chosen = choose_architecture(options.parse(arguments), 10)
    assert chosen.flat.rate == pytest.approx(expected.flat.rate)
    flat = dataclasses.replace(chosen, flat=expected.flat)
    assert flat == expected


def test_the_default_directory_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    first = record.default_directory("mlp")
    assert first == Path("runs", "mlp-now")
    first.mkdir(parents=True)
    assert record.default_directory("mlp") == Path("runs", "mlp-now-2")


def test_a_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with record.Record(tmp_path) as run:
        monkeypatch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.write("curves.png", PNG)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    with record.Record(tmp_path), pytest.raises(BadInput, match="already holds a run"):
        record.Record(tmp_path)


@pytest.mark.slow
def test_dropout_helps_on_little_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy: dict[str, list[float]] = {"0": [], "0.5": []}
    for rate, results in accuracy.items():
        for seed in range(10):
            out = ["--out", str(tmp_path / f"{rate}-{seed}"), "--quiet"]
            chosen = ["--train-size", "200", "--rate", rate, "--seed", str(seed)]
            assert main([*chosen, *out]) == 0
            results.append(json.loads(capsys.readouterr().out)["test_accuracy"])
    assert sum(accuracy["0.5"]) > sum(accuracy["0"])
    assert sum(accuracy["0.5"]) / 10 > 0.94
