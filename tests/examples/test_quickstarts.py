"""The quickstarts, run as their reader runs them."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", ["quickstart_linen", "quickstart_nnx"])
def test_a_quickstart(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = EXAMPLES / f"{name}.py"
    assert len(source.read_text().splitlines()) < 70
    runpy.run_path(str(source), run_name="__main__")
    match = re.fullmatch(r"test accuracy (\d+\.\d) %\n", capsys.readouterr().out)
    assert match
    # About 97.7 % of 600; four binomial standard deviations of 0.6 % below that.
    assert float(match[1]) > 95.3
