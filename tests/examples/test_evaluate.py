"""Runs that are evaluated afterwards."""

import json
from pathlib import Path

import pytest

from examples import evaluate, train

pytestmark = pytest.mark.usefixtures("trainer")

SHORT = "--quiet --train-size 64 --batch-size 32 --steps 4 --eval-every 2".split()
SHORT += ["--devices", "1"]


@pytest.mark.parametrize(
    "network",
    [
        "--model mlp",
        pytest.param(
            "--model cnn --batch-norm --flax nnx --dtype bfloat16",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_is_evaluated(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*SHORT, *network.split(), "--out", str(tmp_path)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert evaluate.main([str(tmp_path), "--samples", "3"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    plain, sampled = (
        result["scores"]["without dropout"],
        result["scores"]["Monte-Carlo"],
    )
    for name in ("loss", "accuracy"):
        assert plain[name] == pytest.approx(summary[f"test_{name}"], rel=1e-2)
    assert 0 < sampled["entropy"] < 2.31
    assert sampled["loss"] != plain["loss"]
    assert f"{plain['accuracy']:.2%}" in table[1]
    assert (result["examples"], result["step"]) == (600, 4)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == result
    assert evaluate.main([str(tmp_path), "--split", "validation", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 199


def test_what_cannot_be_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([str(tmp_path)]) == 2
    assert f"{tmp_path} holds no run" in capsys.readouterr().err
    run = [*SHORT, "--validation-size", "0", "--out", str(tmp_path)]
    assert train.main(run) == 0
    capsys.readouterr()
    assert evaluate.main([str(tmp_path), "--split", "validation"]) == 2
    assert "held no examples out. Evaluate test" in capsys.readouterr().err
    for path in (tmp_path / "checkpoints").iterdir():
        path.rename(tmp_path / "elsewhere")
    assert evaluate.main([str(tmp_path)]) == 2
    assert f"Train it with --resume {tmp_path}" in capsys.readouterr().err
