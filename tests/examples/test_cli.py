"""The command line of the trainer, as its user sees it."""

import contextlib
import hashlib
import json
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples import build, command, config, loop, report
from examples.data import BadInput
from examples.train import main

# What the first one to import them warns of is theirs to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_datasets as tfds

pytestmark = pytest.mark.usefixtures("trainer")

ROOT = Path(__file__).parents[2]
# Two evaluations, of one compiled program for every test that asks for no other.
SHORT = "--train-size 64 --batch-size 32 --steps 4 --eval-every 2".split()
SHORT += ["--devices", "1"]
PNG = b"\x89PNG\r\n\x1a\n"
DEADLINE = 120
LEFT = {*report.FILES, report.CHECKPOINTS}


def rows(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def summary_of(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    return loaded


def trainer_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "examples.train", *arguments]


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the trainer to its end, or kills it."""
    return subprocess.run(
        trainer_command(*arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@pytest.mark.parametrize(
    ("model", "flax"),
    [
        (["mlp"], "linen"),
        pytest.param(
            ["cnn", "--channel-rate", "--batch-norm"], "linen", marks=pytest.mark.slow
        ),
        pytest.param(
            ["mlp", "--optimizer", "sgd", "--momentum", "0.5"],
            "nnx",
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_short_run(
    model: list[str], flax: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", *model, "--flax", flax, *SHORT, "--out", str(tmp_path)]
    assert main(arguments) == 0
    output = capsys.readouterr()
    *words, last = output.out.splitlines()
    summary = json.loads(last)
    # Where standard error is no terminal, lines stand in for the bar.
    assert re.search(r"^step 4/4 train loss .* validation loss .* %$", output.err, re.M)
    assert (summary["steps"], summary["ended"]) == (4, "complete")
    assert 0 <= summary["test_accuracy"] <= 1
    assert 0 < summary["test_loss"] < 20
    assert (summary["model"], summary["flax"]) == (model[0], flax)
    # Options of another model are no part of the summary.
    assert ("channel_rate" in summary) == (model[0] == "cnn")
    assert ("momentum" in summary) == ("sgd" in model)
    if model[0] == "cnn":
        assert summary["channel_rate"] == [0.2, 0.2, 0.2]
    assert any(f"{summary['params']:,}" in line for line in words)
    assert [row["step"] for row in rows(tmp_path)] == [2, 4]
    assert rows(tmp_path)[-1]["validation_loss"] == summary["validation_loss"]
    # The test set is looked at once, at the end.
    assert not any("test_loss" in row for row in rows(tmp_path))
    assert summary_of(tmp_path) == summary
    assert {path.name for path in tmp_path.iterdir()} == LEFT
    assert json.loads((tmp_path / "config.json").read_text())["versions"]["jax"]
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    weights = (tmp_path / "params.npz").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == summary["params_sha256"]
    with np.load(tmp_path / "params.npz") as arrays:
        assert sum(array.size for array in arrays.values()) == summary["params"]


def test_the_summary_says_what_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quiet", *SHORT, "--out", str(tmp_path)]) == 0
    [line] = capsys.readouterr().out.splitlines()
    summary = json.loads(line)
    assert (summary["rate"], summary["input_rate"]) == ([0.5, 0.5], 0.2)
    assert summary["stream"].startswith("jdrop")
    assert {"python", "jdrop", "jax", "jaxlib", "flax", "optax", "numpy"} <= set(
        summary["versions"]
    )
    assert summary["versions"]["numpy"] == np.__version__
    assert summary["command"].startswith("python -m examples.train --quiet --train-")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", summary["date"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_parameters_in_another_process(
    tmp_path: Path, cache_home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SHORT, "--quiet", "--out", str(tmp_path / "first")]) == 0
    [first] = capsys.readouterr().out.splitlines()
    done = in_a_process(*SHORT, "--quiet", "--out", str(tmp_path / "second"))
    assert done.returncode == 0, done.stderr
    # Quiet: the line of JSON, and nothing else anywhere.
    assert done.stderr == ""
    [second] = done.stdout.splitlines()
    assert json.loads(second)["params_sha256"] == json.loads(first)["params_sha256"]
    # What it compiled is kept for the next one.
    assert list(Path(cache_home, "jdrop").iterdir())


def test_a_cache_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with warnings.catch_warnings():
        # As in the trainer's own process.
        warnings.simplefilter("default")
        command.use_compilation_cache()
        assert jax.jit(lambda x: x + 1)(jnp.float32(1)) == 2
    assert capfd.readouterr() == ("", "")


def test_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["--no-compilation-cache", "--dry-run"]) == 0
    assert main(["--dry-run"]) == 0
    assert not list(tmp_path.iterdir())


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Runs arguments that are bad; returns the words of standard error."""
    try:
        status = main(arguments)
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        status = stop.code
    output = capsys.readouterr()
    assert status == 2
    assert output.out == ""
    assert "Traceback" not in output.err
    return " ".join(re.sub("[│╭╮╰╯─]", " ", output.err).split())


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--dataset", "imagenet"], ["--dataset", "imagenet", "digits", "cifar10"]),
        (["--model", "vit"], ["--model", "vit", "alpha_mlp"]),
        (["--rate", "1.5"], ["--rate", "[0, 1]", "got 1.5", "Pass 0.5"]),
        (["--rate", "nan"], ["--rate", "[0, 1]", "got nan", "Pass 0.5"]),
        (["--rate", "-0.1"], ["--rate", "[0, 1]", "got -0.1", "Pass 0.5"]),
        (["--rate", "half"], ["--rate", "[0, 1]", "got half", "Pass 0.5"]),
        (["--rates", "0.2", "2"], ["--rates", "[0, 1]", "got 2", "Pass 0.5"]),
        (["--rates", "0.2", "0.2", "0.2"], ["--rate takes one", "or 2", "got 3"]),
        (["--rate"], ["--rate takes one", "got 0"]),
        (
            ["--model", "alpha_mlp", "--rates", "0.1", "0.1"],
            ["--rate takes one", "alpha_mlp or 20", "got 2"],
        ),
        (["--input-rate", "2"], ["--input-rate", "[0, 1]", "got 2"]),
        (
            ["--model", "cnn", "--channel-rate", "inf"],
            ["--channel-rate", "[0, 1]", "got inf"],
        ),
        (
            ["--model", "cnn", "--channel-rate", "0.1", "0.2"],
            ["--channel-rate takes one", "or 3", "got 2"],
        ),
        (["--steps", "0"], ["--steps", "1 or more", "got 0"]),
        (["--epochs", "1.5"], ["--epochs", "whole number", "got 1.5"]),
        (["--steps", "9", "--epochs", "9"], ["--epochs stands in for --steps"]),
        (["--eval-every", "0"], ["--eval-every", "got 0"]),
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
        (["--units", "0"], ["--units", "1 or more", "got 0"]),
        (["--units", "9", "9", "9", "--rates", "0.1", "0.1"], ["or 3", "got 2"]),
        (["--model", "cnn", "--units", "9"], ["--units is for --model mlp"]),
        (["--dtype", "float16"], ["--dtype", "bfloat16"]),
        (["--rate-schedule", "linear"], ["--rate-schedule", "curriculum"]),
        (["--clip-norm", "0"], ["--clip-norm", "positive", "got 0"]),
        (["--max-norm", "nan"], ["--max-norm", "positive", "got nan"]),
        (
            ["--accumulate", "3", "--batch-size", "32"],
            ["--accumulate divides a batch of 32", "got 3"],
        ),
        (["--validation-size", "1197"], ["--validation-size is at most 1196"]),
        (["--patience", "2", "--validation-size", "0"], ["--patience needs"]),
        (["--patience", "2", "--train-size", "1197"], ["--patience needs", "1197"]),
        (["--checkpoint-every", "0"], ["--checkpoint-every", "got 0"]),
        (["--devices", "9"], ["--devices is at most 8", "got 9", "Leave it out"]),
        (["--devices", "5"], ["a divisor of the 32", "got 5"]),
        (
            ["--coordinator", "localhost:1", "--num-processes", "2"],
            ["--process-id below it", "got 2 and None"],
        ),
        (["--resume", "nowhere"], ["nowhere holds no run", "config.json"]),
        (["--variant", "relu"], ["--variant is for --model alpha_mlp"]),
        (["--channel-rate"], ["--channel-rate is for --model cnn"]),
        (["--batch-norm"], ["--batch-norm is for --model cnn"]),
        (["--padding", "valid"], ["--padding is for --model cnn"]),
        (["--model", "cnn", "--norm-first"], ["--norm-first is for --batch-norm"]),
        (
            ["--model", "cnn", "--padding", "valid"],
            ["--padding valid", "22x22", "got 8x8", "Leave it out"],
        ),
        (["--model", "cnn", "--input-rate", "0"], ["--input-rate is for --model mlp"]),
        (["--momentum", "0.9"], ["--momentum is for --optimizer sgd"]),
        (
            ["--data-dir", "x"],
            ["--data-dir is for --dataset mnist or fashion_mnist or"],
        ),
        (["--download"], ["--download is for --dataset mnist or fashion_mnist or"]),
        # What Python makes of a byte that is not UTF-8 on the command line.
        (["--out", "a\udcff"], ["--out", r"a\udcff", "cannot be written to"]),
        (
            ["--dataset", "mnist", "--data-dir", "\ud800"],
            [r"\ud800", "--dataset digits"],
        ),
    ],
    ids=lambda value: ascii(" ".join(value)),
)
def test_bad_input(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = refusal(capsys, ["--quiet", *arguments])
    for part in parts:
        assert part in words


def test_data_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = refusal(capsys, ["--dataset", "mnist", "--data-dir", str(tmp_path)])
    assert words.startswith("train: error: no prepared mnist")
    assert str(tmp_path / "mnist") in words
    assert "--dataset digits" in words


def test_a_directory_that_cannot_be_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a directory")
    words = refusal(capsys, ["--quiet", "--out", str(tmp_path / "file" / "run")])
    assert f"--out {tmp_path / 'file' / 'run'} cannot be written to" in words


def test_a_run_is_not_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    words = refusal(capsys, ["--quiet", "--out", str(tmp_path)])
    assert "already holds a run (metrics.jsonl)" in words
    assert "--overwrite" in words
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"


def test_a_run_is_overwritten_when_asked_to(tmp_path: Path) -> None:
    for name in (*report.FILES, "notes.txt"):
        (tmp_path / name).write_text("before")
    (tmp_path / report.CHECKPOINTS / "7").mkdir(parents=True)
    assert report.claim(tmp_path, "mlp", b"{}", overwrite=True) == tmp_path
    assert rows(tmp_path) == []
    assert (tmp_path / "config.json").read_bytes() == b"{}"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"metrics.jsonl", "config.json", "notes.txt"}


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    report.claim(tmp_path, "mlp", b"", overwrite=False)
    with pytest.raises(BadInput, match="already holds a run"):
        report.claim(tmp_path, "mlp", b"", overwrite=False)


def test_the_default_directory_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    taken = [report.claim(None, "mlp", b"", overwrite=False) for _ in range(3)]
    assert taken == [Path("runs", f"mlp-now{end}") for end in ("", "-2", "-3")]


def test_bad_input_in_a_process() -> None:
    done = in_a_process("--rate", "1.5")
    assert done.returncode == 2
    assert "[0, 1]; got 1.5" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("library", ["optax", "tyro"])
def test_a_library_that_is_not_installed(library: str) -> None:
    program = (
        f"import sys; sys.modules['{library}'] = None; "
        "from examples.train import main; sys.exit(main(['--quiet']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert library in line
    assert "pip install --group examples" in line


def test_a_loss_that_is_not_finite_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = loop.fit

    def diverging(*arguments: Any, **budget: Any) -> Iterator[Any]:
        for state, row in fit(*arguments, **budget):
            yield state, {**row, "train_loss": math.nan}

    monkeypatch.setattr(loop, "fit", diverging)
    assert main([*SHORT, "--out", str(tmp_path), "--quiet"]) == 1
    output = capsys.readouterr()
    [line] = output.err.splitlines()
    assert "nan after step 2 of 4: lower --learning-rate, now 0.003" in line
    # Strict JSON has no NaN.
    assert rows(tmp_path)[0]["train_loss"] is None
    assert json.loads(output.out)["ended"].startswith("the loss is nan")


@pytest.mark.parametrize(
    "name", [name for name in report.FILES if "config" not in name]
)
def test_a_file_that_cannot_be_written(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_bytes, opened = Path.write_bytes, Path.open

    def full(path: Path) -> None:
        if name in path.name:
            raise OSError(28, "No space left on device")

    def write(path: Path, content: bytes) -> int:
        full(path)
        return write_bytes(path, content)

    def append(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode == "ab":
            full(path)
        return opened(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "write_bytes", write)
    monkeypatch.setattr(Path, "open", append)
    assert main([*SHORT, "--quiet", "--out", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.err == (
        f"train: error: {tmp_path / name} could not be written: "
        "No space left on device\n"
    )
    # The line is printed, and every other file is there, and whole.
    assert json.loads(output.out)["steps"] == (2 if name == report.FILES[0] else 4)
    left = {path.name for path in tmp_path.iterdir()}
    assert left | {name} == LEFT - ({report.CHECKPOINTS} - left)


def test_a_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report.write(tmp_path / "curves.png", PNG)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_run_after_the_steps_under_way(
    number: signal.Signals,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fit, before = loop.fit, signal.getsignal(number)

    def interrupted(*arguments: Any, **budget: Any) -> Iterator[Any]:
        signal.raise_signal(number)
        yield from fit(*arguments, **budget)

    monkeypatch.setattr(loop, "fit", interrupted)
    arguments = [*SHORT, "--quiet", "--out", str(tmp_path)]
    try:
        # As if not started in the background, where SIGINT is ignored.
        signal.signal(number, signal.SIG_DFL)
        assert main(arguments) == status
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    output = capfd.readouterr()
    noted, ended = output.err.splitlines()
    assert noted == (
        f"train: {number.name}: saving after these steps; once more ends it at once"
    )
    assert f"interrupted by {number.name} after step 2 of 4" in ended
    assert f"what was learnt is in {tmp_path}, and --resume {tmp_path} goes on" in ended
    assert len(rows(tmp_path)) == 1
    summary = json.loads(output.out)
    assert summary["steps"] == 2
    assert summary["ended"] == f"interrupted by {number.name} after step 2 of 4"
    assert {path.name for path in tmp_path.iterdir()} == LEFT
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]


@pytest.mark.parametrize("evaluations", [0, 1])
def test_a_second_signal_ends_a_run_at_once(
    evaluations: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit = loop.fit

    def interrupted(*arguments: Any, **budget: Any) -> Iterator[Any]:
        results = fit(*arguments, **budget)
        for _ in range(evaluations):
            yield next(results)
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        yield from results

    monkeypatch.setattr(loop, "fit", interrupted)
    assert main([*SHORT, "--quiet", "--out", str(tmp_path)]) == 143
    output = capsys.readouterr()
    if evaluations:
        assert "interrupted by SIGTERM; what was learnt is in" in output.err
        assert json.loads(output.out)["steps"] == 2
    else:
        assert "interrupted by SIGTERM before the first evaluation" in output.err
        assert output.out == ""
        assert not list(tmp_path.iterdir())


def test_a_signal_that_is_ignored_stays_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As nohup does.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        def load(*_: Any, **__: Any) -> None:
            signal.raise_signal(signal.SIGHUP)
            pytest.skip("came so far")

        monkeypatch.setattr(build.data, "load", load)
        with pytest.raises(pytest.skip.Exception):
            main(["--quiet"])
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The trainer, on a terminal of 80 columns; it is killed at the end."""
    screen, terminal = pty.openpty()
    # A signal that is ignored here would be in the child, and be no signal to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            trainer_command(*arguments),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(terminal)
    try:
        yield process, screen
    finally:
        process.kill()
        process.wait(timeout=DEADLINE)
        os.close(screen)


def read(screen: int, until: str | None, deadline: float) -> str:
    """Reads a terminal until it shows a pattern, or is left by everyone."""
    shown = ""
    while until is None or not re.search(until, shown):
        ready, _, _ = select.select([screen], [], [], deadline - time.monotonic())
        assert ready, f"nothing more within the deadline after {shown!r}"
        try:
            part = os.read(screen, 4096)
        # At its end, a terminal that nobody holds open is an error to read.
        except OSError:
            assert until is None, shown
            return shown
        shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part.decode(errors="replace"))
    return shown


def test_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    budget = ["--steps", "1000000", "--eval-every", "200"]
    with on_a_terminal(*budget, "--out", str(tmp_path)) as (process, screen):
        # The bar is there before anything is compiled.
        shown = read(screen, r"step 0/1000000 ━+ compiling", deadline)
        shown += read(screen, r"step [1-9]\d*/1000000 .*validation loss \d", deadline)
        process.send_signal(signal.SIGINT)
        shown += read(screen, None, deadline)
        assert process.wait(timeout=DEADLINE) == 130
    assert "Traceback" not in shown
    *lines, last = re.split(r"[\r\n]+", shown.strip())
    assert max(map(len, lines)) <= 80
    done = summary_of(tmp_path)["steps"]
    assert len(rows(tmp_path)) == done // 200
    assert f"interrupted by SIGINT after step {done} of 1000000" in " ".join(
        lines[-9:] + [last]
    )


def test_help_says_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    text = " ".join(text.replace("│", " ").split())
    for field in config.Config.__dataclass_fields__:
        written = config.flag(field)
        assert written in text or written.replace("--", "--no-") in text
    rates = {model: rate for model, (_, _, rate) in config.DEFAULTS.items()}
    assert f"mlp {rates['mlp']}, alpha_mlp {rates['alpha_mlp']}" in text
    assert f"cnn {rates['cnn']}" in text
    learning = {model: rate for model, (rate, _, _) in config.DEFAULTS.items()}
    assert f"mlp {learning['mlp']}, alpha_mlp and cnn {learning['cnn']}; with" in text
    steps = {model: steps for model, (_, steps, _) in config.DEFAULTS.items()}
    assert ", ".join(f"{model} {n}" for model, n in steps.items()) in text


def test_defaults_follow_the_other_options() -> None:
    default = config.parse([])
    assert (default.model, default.dataset, default.flax) == ("mlp", "digits", "linen")
    assert (default.rate, default.input_rate, default.steps) == ((0.5, 0.5), 0.2, 3700)
    none = config.parse(["--rate", "0"])
    assert (none.rate, none.input_rate) == ((0, 0), 0)
    textbook = config.parse(["--rates", "0.2", "0.5"])
    assert (textbook.rate, textbook.input_rate) == ((0.2, 0.5), 0)
    mnist = config.parse(["--dataset", "mnist", "--data-dir", "x"])
    assert (mnist.steps, mnist.data_dir) == (10_000, "x")
    selu = config.parse(["--model", "alpha_mlp"])
    assert selu.rate == 20 * (0.05,)
    relu = config.parse(["--model", "alpha_mlp", "--variant", "relu"])
    assert (relu.rate, relu.learning_rate) == ((0.2, *19 * (0.0,)), 0.001)
    cnn = config.parse(["--model", "cnn"])
    assert (cnn.rate, cnn.channel_rate) == ((0.25, 0.25), (0, 0, 0))
    three = config.parse(["--model", "cnn", "--channel-rate", "0.1", "0.2", "0.3"])
    assert three.channel_rate == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("flax", ["linen", "nnx"])
def test_a_dry_run_shows_the_network_of_the_textbooks(
    flax: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", lambda self: True)
    network = ["--model", "cnn", "--padding", "valid", "--batch-norm", "--flax", flax]
    drops = ["--rates", "0.2", "0.5", "--channel-rate", "0.1"]
    with tfds.testing.mock_data(num_examples=10):
        data = ["--dataset", "cifar10", "--data-dir", str(tmp_path)]
        assert main([*network, *drops, *data, "--dry-run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["conv_0", "3", "x", "3", "x", "3", "x", "32", "896"] in lines
    assert ["norm_0", "64", "channel", "dropout", "0.1"] in lines
    assert ["flat", "dropout", "0.2"] in lines
    # 512 features are left of 32 x 32 pixels.
    assert ["hidden_0", "512", "x", "512", "262,656", "dropout", "0.5"] in lines
    names = [line[0] for line in lines]
    assert names.index("norm_0") == names.index("conv_0") + 1
    assert not Path("runs").exists()


@pytest.mark.parametrize("size", [64, 200, 1197])
def test_the_budget_is_steps_whatever_the_size_of_the_data(size: int) -> None:
    steps, every, batch_size = build._budget(config.parse([]), size)
    assert (steps, every, batch_size) == (3700, 37, 32)
    steps, every, _ = build._budget(config.parse(["--epochs", "3"]), size)
    assert (steps, every) == (3 * (size // 32), size // 32)


@pytest.mark.slow
def test_dropout_helps_on_little_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss: dict[str, list[float]] = {"0": [], "0.5": []}
    for rate, results in loss.items():
        for seed in range(3):
            out = ["--out", str(tmp_path / f"{rate}-{seed}"), "--quiet"]
            chosen = ["--train-size", "200", "--rate", rate, "--seed", str(seed)]
            assert main([*chosen, *out]) == 0
            results.append(json.loads(capsys.readouterr().out)["test_loss"])
    # Of ten seeds: 0.152 to 0.183 with dropout, and 0.222 to 0.297 without.
    assert max(loss["0.5"]) < 0.2 < min(loss["0"])
