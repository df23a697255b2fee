"""The frame of the studies with cells that measure nothing, and the page they fill."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from flax import linen as nn
from matplotlib.figure import Figure

from examples import loop
from examples.loop import Network
from examples.studies import study
from examples.studies.study import Cell, Options
from jdrop import key_for
from jdrop.linen import Dropout

pytestmark = pytest.mark.usefixtures("trainer")

ROOT = Path(__file__).parents[2]
# The studies among the files: those that are commands.
NAMES = sorted(
    path.stem
    for path in Path(ROOT, "examples", "studies").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)
# Labels that a csv file, markup and a regular expression would trip over.
LABELS = ["a, b", "[red]", r"\1"]
PAGE = (
    "Above.\n\n<!-- fake -->\n<!-- end -->\n\nBelow.\n\n<!-- other -->\n<!-- end -->\n"
)


class Fake:
    """A study of three cells; before one is measured, something may happen."""

    def __init__(self, before: Callable[[str], object] = lambda kind: None) -> None:
        self.measured: list[str] = []
        self.before = before

    def cells(self, options: Options) -> Iterable[Cell]:
        def measure(kind: str, seeds: jax.Array) -> study.Values:
            self.before(kind)
            self.measured.append(kind)
            steps = np.array([10, 20])
            return {"loss": np.asarray(seeds)[:, None] + steps / 300, "step": steps}

        for kind in LABELS:
            yield Cell({"kind": kind}, lambda seeds, kind=kind: measure(kind, seeds))

    def show(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
        last = rows[rows.step == 20]
        means = last.groupby("kind", sort=False).loss.apply(study.mean_and_error)
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot(rows.step, rows.loss)
        return means.reset_index(), figure

    def main(self, *arguments: str, **settings: object) -> int:
        settings = settings or {"steps": 20}
        return study.main("fake", self.cells, self.show, arguments, settings=settings)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a clone, with places for the tables of two studies."""
    monkeypatch.chdir(tmp_path)
    study.PAGE.parent.mkdir()
    study.PAGE.write_text(PAGE)
    return study.PAGE


def test_a_study_keeps_its_rows_and_fills_its_section(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Fake().main("--seeds", "3") == 0
    folder = page.with_suffix("") / "fake"
    assert {path.name for path in folder.iterdir()} == set(study.FILES)
    rows = pd.read_csv(folder / "rows.csv")
    assert rows.kind.tolist() == [kind for kind in LABELS for _ in range(6)]
    assert rows.cell.tolist() == [f"kind {kind}" for kind in rows.kind]
    assert rows.seed.tolist() == 3 * [0, 0, 1, 1, 2, 2]
    assert rows.step.tolist() == 9 * [10, 20]
    np.testing.assert_allclose(rows.loss, rows.seed + rows.step / 300, atol=1e-4)
    table = (folder / "table.md").read_text()
    # The mean of 0, 1, 2 and 20 / 300; the deviation is 1, and its error 1 / 3^(1/2).
    assert table.count("1.1 ± 0.6") == 3
    empty = "<!-- fake -->\n<!-- end -->"
    filled = f"<!-- fake -->\n\n{table}\n<!-- end -->"
    assert page.read_text() == PAGE.replace(empty, filled)
    about = json.loads((folder / "config.json").read_text())
    assert (about["seeds"], about["quick"], about["steps"]) == (3, False, 20)
    assert about["command"] == "python -m examples.studies.fake --seeds 3"
    assert {"jdrop", "jax", "numpy"} <= about["versions"].keys()
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    output = capsys.readouterr()
    assert output.out.startswith(table)
    # Where standard error is no terminal, lines stand in for the bar.
    assert output.err.splitlines() == [
        f"{i + 1}/3 kind {kind}" for i, kind in enumerate(LABELS)
    ]
    # What is done is not measured again, and the table is put where the old one was.
    written, again = page.read_text(), Fake()
    assert again.main("--seeds", "3", "--quiet") == 0
    assert again.measured == []
    assert page.read_text() == written
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["--out", "other"], ["--quick"]])
def test_only_the_study_itself_goes_on_the_page(
    page: Path, arguments: list[str]
) -> None:
    assert Fake().main(*arguments) == 0
    folder = Path("other") if "--out" in arguments else Path("runs", "studies", "fake")
    assert {path.name for path in folder.iterdir()} == set(study.FILES)
    seeds = 10 if "--out" in arguments else 2
    assert len(pd.read_csv(folder / "rows.csv")) == 3 * 2 * seeds
    assert page.read_text() == PAGE
    # Wherever it goes, a quick one is no result.
    home = str(page.with_suffix("") / "fake")
    assert Fake().main("--quick", "--out", home) == 0
    assert page.read_text() == PAGE


def test_a_page_without_the_section(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.write_text("Nothing.")
    assert Fake().main() == 1
    assert "docs/studies.md has no <!-- fake -->" in capsys.readouterr().err
    assert page.read_text() == "Nothing."


def test_outside_of_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = Fake()
    assert refused.main() == 2
    assert refused.measured == []
    words = "docs/studies.md is not here: go to the root of a clone, or name another"
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert refused.main("--out", "out", "--quiet") == 0


def test_a_signal_ends_it_after_a_setting_and_the_same_command_goes_on(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(kind: str) -> None:
        if kind == LABELS[1]:
            # One that no shell has its children ignore.
            signal.raise_signal(signal.SIGTERM)

    fake = Fake(kill)
    assert fake.main() == 143
    assert fake.measured == LABELS[:2]
    words = capsys.readouterr().err
    assert "interrupted by SIGTERM; what is done is in docs/studies/fake" in words
    assert "the same command goes on" in words
    assert page.read_text() == PAGE
    again = Fake()
    assert again.main() == 0
    assert again.measured == LABELS[2:]
    assert capsys.readouterr().err == f"1/1 kind {LABELS[2]}\n"
    # The rows, the table and the figure of a study that nothing ended.
    assert Fake().main("--out", "whole") == 0
    for name in ("rows.csv", "table.md", "figure.png"):
        ended = page.with_suffix("") / "fake" / name
        assert ended.read_bytes() == Path("whole", name).read_bytes(), name


def test_a_second_signal_ends_it_at_once(page: Path) -> None:
    def kill(kind: str) -> None:
        if kind == LABELS[1]:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    fake = Fake(kill)
    assert fake.main() == 143
    assert fake.measured == LABELS[:1]
    assert set(pd.read_csv("docs/studies/fake/rows.csv").kind) == set(LABELS[:1])


def test_fresh_starts_over_and_removes_nothing_of_others(page: Path) -> None:
    assert Fake().main("--out", "out") == 0
    Path("out", "notes").write_text("mine")
    again = Fake()
    assert again.main("--out", "out", "--fresh", "--seeds", "2") == 0
    assert again.measured == LABELS
    assert len(pd.read_csv("out/rows.csv")) == 12
    assert Path("out", "notes").read_text() == "mine"


def test_rows_of_another_configuration_are_refused(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Fake().main("--seeds", "2") == 0
    written = Path("docs/studies/fake/rows.csv").read_bytes()
    refused = Fake()
    assert refused.main() == 2
    assert refused.main("--seeds", "2", steps=30) == 2
    Path("docs/studies/fake/config.json").unlink()
    assert refused.main("--seeds", "2") == 2
    assert refused.measured == []
    assert Path("docs/studies/fake/rows.csv").read_bytes() == written
    words = capsys.readouterr().err
    assert "has rows with seeds 2; got 10: name another folder with --out" in words
    assert "has rows with steps 20; got 30: name another folder with --out" in words
    assert "has rows with stream None; got jdrop" in words
    assert words.count("or add --fresh to start over") == 3


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_the_folder_of_another_program_is_refused(
    fresh: list[str], page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    for text, reason in (
        ('{"command": "python -m examples.train --out out"}', "another program"),
        ('{"seeds": 10}', "another program"),
        ("{", "config.json: Expecting property name"),
    ):
        Path("out", "config.json").write_text(text)
        assert Fake().main("--out", "out", *fresh) == 2
        words = capsys.readouterr().err
        assert reason in words and "name another folder with --out" in words
        assert [path.read_text() for path in Path("out").iterdir()] == [text]


def test_a_folder_that_cannot_be_written_to(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Fake()
    assert refused.main("--out", str(page / "out")) == 2
    assert refused.measured == []
    assert "cannot be used (Not a directory): name another folder" in (
        capsys.readouterr().err
    )

    def fill(kind: str) -> None:
        if kind == LABELS[1]:
            Path("out", "rows.csv").unlink()
            Path("out", "rows.csv").mkdir()

    assert Fake(fill).main("--out", "out") == 1
    assert "rows.csv could not be written: Is a directory" in capsys.readouterr().err


def test_on_a_terminal_a_bar_within_80_columns(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(sys.modules[__name__], "LABELS", [*LABELS, 30 * "long "])
    assert Fake().main("--out", "out") == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    lines = re.split(r"[\r\n]+", shown)
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("3/4 ") and "long long" in line for line in lines)
    assert any(line.startswith("4/4 ") for line in lines)


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on(page: Path) -> None:
    script = (
        "import sys, time\n"
        "from test_studies import Fake\n"
        "wait = lambda kind: time.sleep(600 if kind == sys.argv[1] else 0)\n"
        "sys.exit(Fake(wait).main('--out', 'out'))\n"
    )
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", Path(__file__).parent)))
    environment = {**os.environ, "PYTHONPATH": paths}
    first = subprocess.Popen([sys.executable, "-c", script, LABELS[1]], env=environment)
    deadline = time.monotonic() + 120
    while not Path("out", "rows.csv").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    again = Fake()
    assert again.main("--out", "out") == 0
    assert again.measured == LABELS[1:]
    assert pd.read_csv("out/rows.csv").kind.tolist() == [
        kind for kind in LABELS for _ in range(20)
    ]


@pytest.mark.slow
def test_seeds_learn_together_what_each_learns_alone() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, training):
            x = Dropout(0.5, deterministic=not training)(x.reshape(len(x), -1))
            return nn.Dense(10)(x)

    def make(rate: jax.Array) -> tuple[Network, optax.GradientTransformation]:
        return study.network(Net()), optax.sgd(rate)

    split = train, test = study.digits(64)
    seeds = jnp.array([5, 6])
    budget = {"steps": 4, "batch_size": 16}
    values = study.learn(make, {"rate": 0.1}, split, seeds, every=2, **budget)
    params, _ = study.trained(make, {"rate": 0.1}, split, seeds, **budget)
    assert values["step"].tolist() == [2, 4]
    method = loop.Method(*make(jnp.float32(0.1)))
    for i, seed in enumerate(seeds):
        key = jax.random.key(seed)
        state = loop.create_state(method, key_for(key, "weights"))
        training_key = key_for(key, "training")
        for j in range(2):
            state, _ = loop.train_steps(state, train, training_key, 2, 16)
            for part, data in (("train", train), ("test", test)):
                for name, value in loop.evaluate(state, data)._asdict().items():
                    np.testing.assert_allclose(
                        values[f"{part}_{name}"][i, j], value, rtol=1e-5
                    )
        together = [array[i] for array in jax.tree.leaves(params)]
        for array, alone in zip(together, jax.tree.leaves(state.params), strict=True):
            np.testing.assert_allclose(array, alone, rtol=1e-4, atol=1e-6)


def section(name: str) -> str:
    """What the page says of a study: from its heading to the next one."""
    text = (ROOT / study.PAGE).read_text()
    [found] = [part for part in text.split("\n## ") if f"<!-- {name} -->" in part]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_the_study(name: str) -> None:
    folder, text = ROOT / study.PAGE.with_suffix("") / name, section(name)
    assert f"\n    python -m examples.studies.{name}\n" in text
    assert f"](studies/{name}/figure.png)\n" in text
    table = (folder / "table.md").read_text()
    assert f"<!-- {name} -->\n\n{table}\n<!-- end -->" in text
    # What was found, in words, beside the command, the figure and the table.
    words = re.sub(r"<!--.*-->", "", text, flags=re.DOTALL)
    words = "\n".join(line for line in words.splitlines()[1:] if line[:4] != "    ")
    assert len(re.sub(r"!\[.*?\]\(.*?\)", "", words).split()) > 60
    assert {path.name for path in folder.iterdir()} == set(study.FILES)
    assert (folder / "figure.png").stat().st_size < 150_000
    assert (folder / "rows.csv").stat().st_size < 80_000
    about = json.loads((folder / "config.json").read_text())
    assert not about["quick"]


def test_the_page_names_every_study_and_no_other() -> None:
    text = (ROOT / study.PAGE).read_text()
    assert sorted(re.findall(r"<!-- (?!end)(\w+) -->", text)) == NAMES
    assert sorted(re.findall(r"^\| \[`(\w+)`\]", text, re.M)) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_study(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"examples.studies.{name}", "--quick"]
        + ["--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == set(study.FILES)
    table = (tmp_path / "table.md").read_text()
    assert done.stdout.startswith(table)
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert set(rows.seed) == {0, 1}
    assert np.isfinite(rows.select_dtypes("number")).any().all()
