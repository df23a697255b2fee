"""The published recipes: they are listed, and each runs, here for a few steps."""

import json
import shlex
import warnings
from pathlib import Path

import pytest

from examples import config, recipes
from examples.recipes import RECIPES

# What the first one to import them warns of is theirs to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_datasets as tfds

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


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("d2l", 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
        # The largest of their networks takes as long as the rest of these tests.
        *(
            pytest.param(*of, marks=pytest.mark.slow)
            for of in [
                ("d2l-2021", 269_322),
                ("max-norm", 3_974_154),
                ("cifar10-valid", 361_034),
                ("cifar10-same", 1_147_466),
            ]
        ),
    ],
)
def test_a_few_steps(
    name: str, params: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", lambda self: True)
    few = ["--batch-size", "20", "--eval-every", "2", "--out", str(tmp_path)]
    few += ["--steps", "4"] if name == "max-norm" else ["--epochs", "2"]
    with tfds.testing.mock_data(num_examples=40):
        assert recipes.main([name, *few, "--quiet"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4
    assert summary["params"] == params
    assert summary["train_size"] == 40
