"""The published recipes: they are listed, and each runs, here for a few steps."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from examples import config, data, recipes
from examples.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("trainer")


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipes.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if " python -m " in line] == [*RECIPES]
    # The figure of Srivastava et al.
    assert any("their figure   1.05 % of the test set wrong" in line for line in lines)


def test_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipes.main(["lenet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("recipes: error: NAME is one of d2l, ")
    assert error.endswith("got lenet\n")


@pytest.mark.parametrize("name", RECIPES)
def test_each_one_is_understood(name: str) -> None:
    parsed = config.parse(shlex.split(RECIPES[name].options))
    # Of all training examples, and with a rate for each layer.
    assert (parsed.validation_size, parsed.train_size) == (0, config.AUTO)
    assert len(parsed.rate) == (len(parsed.units) if parsed.model == "mlp" else 2)


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def forty(name: str, *options: object) -> tuple[data.Split, data.Split, int]:
        shape = (40, 32, 32, 3) if name == "cifar10" else (40, 28, 28, 1)
        images = np.random.RandomState(0).randint(256, size=shape).astype(np.uint8)
        split = data.Split(images, np.arange(40) % 10)
        return split, split, 10

    monkeypatch.setattr(data, "_tfds", forty)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("d2l", "269,322"),
        ("max-norm", "3,973,130"),
        ("cifar10-valid", "361,034"),
        ("cifar10-same", "1,147,466"),
    ],
)
def test_the_network(
    name: str, params: str, few_images: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipes.main([name, "--batch-size", "20", "--dry-run"]) == 0
    *_, hidden, _, total = capsys.readouterr().out.splitlines()
    assert hidden.split()[-2:] == ["dropout", "0.5"]
    assert total.split() == ["total", params]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_few_steps(name: str, few_images: None, tmp_path: Path) -> None:
    few = ["--batch-size", "20", "--devices", "1", "--out", str(tmp_path), "--quiet"]
    few += ["--steps", "4"] if name == "max-norm" else ["--epochs", "2"]
    assert recipes.main([name, *few]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4
    assert summary["train_size"] == summary["test_size"] == 40
    assert "complete" in summary["ended"]
