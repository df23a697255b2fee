"""What each op costs, from the results, to the page of the op.

    python -m benchmarks.family_pages

It measures nothing: it reads the newest run of `benchmarks.speed` and what
`benchmarks.compiled` found, and fills the table of each page in `docs/family/`.
"""

import pandas as pd

from benchmarks import plots, records
from benchmarks.compiled import page as compiled
from benchmarks.compiled.targets import TPUS
from benchmarks.contestants import JDROP, NOTHING
from benchmarks.table import names

PAGES = records.ROOT / "docs" / "family"
RUN = plots.newest(records.RESULTS)

# The section of a run and the case of what has been timed in both states of memory.
CASES = {"dropout": ("ops", "forward"), "alpha_dropout": ("ops", "alpha")}
ALONE = ["dropout", "feature_dropout", "drop_block", "drop_path", "drop_connect"]
ALONE += ["token_dropout", "zoneout", "concrete_dropout"]
OPS = {name: [name] for name in ALONE} | {
    "alpha_dropout": ["alpha_dropout", "feature_alpha_dropout"],
    "attention_dropout": ["attention_dropout", "blockwise_attention"],
    "gaussian_dropout": ["gaussian_dropout", "gaussian_noise"],
}
"""The ops of each page."""

NOT = "not measured"


def cost(op: str, timed: pd.DataFrame, read: pd.DataFrame) -> dict[str, str]:
    """The figures of one op by their names, as text; rate 0.1, float32."""
    section, case = CASES.get(op, ("family", op))
    rows = timed[(timed.section == section) & (timed.case == case)]
    shape = rows["shape"].iloc[0]
    own = rows[(rows["shape"] == shape) & (rows.dtype == "float32")]
    own = own[(own.rate == 0.1) & (own.name == JDROP) & (own.metric == "ratio")]
    speed = own.set_index("memory")
    floor = speed.unit.iloc[0].removeprefix("to ")

    rows = read[read.part.isna() if op == "dropout" else read.part == "family"]
    rows = rows[rows.case == ("forward" if op == "dropout" else op)]
    rows = rows[(rows["shape"] == shape) & (rows.dtype == "float32")]
    floors = rows[rows.name == floor].set_index("section")
    chips = rows[(rows.rate == 0.1) & (rows.name == JDROP)].set_index("section")
    counts = [figures.instructions["h100"] for figures in (chips, floors)]
    return {
        "float32, rate 0.1": f"`{op}`, {shape}",
        "1 is": "attention without dropout" if floor == NOTHING else f"`{floor}`",
        "CPU, warm memory": _quartiles(speed, "warm"),
        "CPU, fresh memory": _quartiles(speed, "fresh"),
        "kept for backward, bits an element": _kept(op, timed, shape),
        f"compiled for TPU {', '.join(TPUS)}: estimated cycles": ", ".join(
            f"{chips.ratio[chip]:.3g}" for chip in TPUS
        ),
        "compiled for H100: instructions an element": "{:.3g}, of 1: {:.3g}".format(
            *counts
        ),
    }


def _quartiles(speed: pd.DataFrame, memory: str) -> str:
    if memory not in speed.index:
        return NOT
    low, value, high = speed.loc[memory, ["low", "value", "high"]]
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def _kept(op: str, timed: pd.DataFrame, shape: str) -> str:
    rows = timed[timed.name == JDROP]
    if op == "dropout":
        rows = rows[(rows.section == "memory") & (rows.metric == "kept")]
        rows = rows[(rows["shape"] == shape) & (rows.dtype == "float32")]
        return f"{8 * rows['value'].iloc[0]:.3g}"
    rows = rows[(rows.case == op) & (rows.metric == "kept bits")]
    return f"{rows['value'].iloc[0]:.3g}"


def table(ops: list[str], timed: pd.DataFrame, read: pd.DataFrame) -> str:
    """The figures of the ops of a page, a column each."""
    frame = pd.DataFrame([cost(op, timed, read) for op in ops]).T.reset_index()
    head, *figures = frame.to_numpy().tolist()
    return records.table(pd.DataFrame(figures, columns=head))


def main() -> None:
    """Fills the pages, and prints which."""
    timed = records.read(RUN)
    timed["name"] = names(timed)
    read = compiled.load()
    for name, ops in OPS.items():
        page = PAGES / f"{name}.md"
        text = records.fill(page.read_text(), {"cost": table(ops, timed, read)})
        page.write_text(text)
        print(page)


if __name__ == "__main__":
    main()
