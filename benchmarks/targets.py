"""The tables of a run: what was set out to reach on a CPU beside what was measured."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.contestants import FLAX, FLOOR, JDROP, NOTHING
from benchmarks.family import BLOCKS, BY_HAND
from benchmarks.ops import CALLS, MANY
from benchmarks.table import names

# What tells one contest from another.
CONTEST = ["section", "case", "memory", "shape", "dtype", "rate"]
NO_PEERS = (FLOOR, NOTHING, BLOCKS, "draw", "apply")
COLUMNS = ["what", "memory", "target", "met", "jdrop", "processor time"]
COLUMNS += ["flax", "flax, best keys", "best other"]
# Beyond the caches the time of any pass is linear; a power above this is not.
POWER = 1.05


class Target(NamedTuple):
    """The most that a figure of jdrop's may be, and where the figure is found.

    Where `to_flax`, it is divided by that of flax with its best keys, not by the
    contest's reference, and has to stay below the limit. A shape "" is any.
    """

    what: str
    limit: float
    section: str
    case: str
    shape: str = "4096x4096"
    dtype: str = "float32"
    rate: float = 0.1
    metric: str = "ratio"
    to_flax: bool = False


def targets() -> Iterator[Target]:
    """The targets that are about one figure each."""
    forward = {
        ("4096x4096", "float32"): (1.5, 1.25, 1.1),
        ("4096x4096", "bfloat16"): (2.3, 1.5, 1.4),
        # As the even array, and a tenth.
        ("4096x4001", "float32"): (1.65, 1.375, 1.21),
        ("8192x2000", "float32"): (1.65, 1.375, 1.21),
        ("640x28x28x32", "float32"): (1.65, 1.375, 1.21),
        ("1024x1024", "float32"): (3.0, math.inf, 1.8),
    }
    for where, limits in forward.items():
        for rate, limit in zip((0.1, 0.25, 0.5), limits, strict=True):
            if limit < math.inf:
                yield Target("forward", limit, "ops", "forward", *where, rate)
    for shape in ("128x512", "128x100", "8x4096"):
        for rate in (0.1, 0.25, 0.5):
            what = "forward, to flax with its best keys"
            yield Target(what, 1, "ops", "forward", shape, rate=rate, to_flax=True)
    yield Target("value and gradient", 1.6, "ops", "gradient")
    yield Target("alpha dropout", 1.8, "ops", "alpha")
    yield Target("one bit a channel", 1.1, "ops", "channel", "64x32x32x64")
    yield Target("eager call, to flax's", 0.5, "calls", "eager", "128x512")
    yield Target("eager call, to fold_in's", 2, "calls", "call", "128x512")
    yield Target("key_for, to fold_in", 2, "calls", "key", "128x512")
    for what in MANY:
        case, title = f"compile {CALLS} {what}", f"compile time of {CALLS} {what}"
        yield Target(f"{title}, to flax's", 1.2, "calls", case, "256x512")
    steps = {
        "MLP 784-512-512-10, batch 128": 1.04,
        "MLP 784-256-256-10, batch 256": 1.08,
        "MLP 784-100-100-10, batch 128": 1.08,
        "CNN 32-64-128, batch 64": 1.02,
    }
    for rate in (0.1, 0.5):
        yield Target("compile time, to flax's", 1.2, "calls", "compile", rate=rate)
        for case, limit in steps.items():
            what = f"step of {case}, to it without dropout"
            yield Target(what, limit, "train_step", case, "", rate=rate)
    for dtype in ("float32", "bfloat16"):
        # One bit, and a twentieth more where rows do not fill their words.
        thin = {"640x28x28x32": 1.05, "1048576x1": 1.0, "65536x10": 1.0}
        for shape, bits in ({"4096x4096": 1.0} | thin).items():
            what, section = "bytes an element kept", "memory"
            kept = Target(what, bits / 8, section, "residual", shape, dtype)
            yield kept._replace(metric="kept")


def headline(rows: pd.DataFrame) -> pd.DataFrame:
    """The table of targets beside what was measured.

    It has a line for each target and state of memory in which its figure was measured.
    A target is judged in warm memory; elsewhere `target` and `met` are empty.
    """
    lines = [line for target in targets() for line in _lines(target, rows)]
    table = pd.DataFrame([*lines, *_growth(rows)], columns=COLUMNS)
    return table.astype(object).fillna("")


def family(rows: pd.DataFrame) -> pd.DataFrame:
    """An op of the family a line: its ratio, those of others, and what is kept."""
    rows, lines = rows[rows.section == "family"], []
    for (op, shape), found in rows.groupby(["case", "shape"], sort=False):
        ratio, busy, kept = (
            _by_name(found[found.metric == metric])
            for metric in ("ratio", "cpu ratio", "kept bits")
        )
        own = found[(names(found) == JDROP) & (found.metric == "ratio")].iloc[0]
        others = [n for n in ratio if n not in (FLOOR, NOTHING, JDROP, BY_HAND)]
        lines.append(
            {
                "op": op,
                "x": shape,
                "jdrop": f"{own.value:.3g} ({own.low:.3g} to {own.high:.3g})",
                "processor time": busy[JDROP],
                BY_HAND: ratio[BY_HAND],
                "others": ", ".join(f"{ratio[n]:.3g} ({n})" for n in others),
                "bits kept": kept[JDROP],
                "bits kept by hand": kept[BY_HAND],
            }
        )
    return pd.DataFrame(lines)


def trainers(rows: pd.DataFrame) -> pd.DataFrame:
    """A network in a library a line: what a step takes, and what of it is dropout."""
    rows, lines = rows[rows.section == "trainer"], []
    for (case, name), found in rows.groupby(["case", names(rows)], sort=False):
        figures = found.set_index("metric")
        micro = {
            "us a step": "step time",
            "of processor time": "step cpu",
            "without dropout": "step time without",
        }
        share = figures.loc["dropout"]
        lines.append(
            {
                "network": case.removeprefix("trainer, "),
                "in": name,
                **{
                    words: f"{1e6 * figures.value[of]:,.0f}"
                    for words, of in micro.items()
                },
                "dropout's share": f"{share.value:.0%} ({share.low:.0%} to "
                f"{share.high:.0%})",
                "examples a second": f"{figures.value['examples per second']:,.0f}",
            }
        )
    return pd.DataFrame(lines)


def contests(rows: pd.DataFrame) -> list[bool]:
    """For each contest in which jdrop meets a peer, whether its ratio is the least."""
    figures = [_by_name(c) for _, c in rows[rows.metric == "ratio"].groupby(CONTEST)]
    return [
        figure[JDROP] < min(figure[name] for name in _peers(figure))
        for figure in figures
        if JDROP in figure and _peers(figure)
    ]


def _lines(target: Target, rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    fields = ["section", "case", "dtype", "rate", *(["shape"] if target.shape else [])]
    for field in fields:
        rows = rows[rows[field] == getattr(target, field)]
    for memory, contest in rows.groupby("memory", sort=False):
        figures = _by_name(contest[contest.metric == target.metric])
        flax = [name for name in figures if name.startswith("flax")]
        if JDROP not in figures or (target.to_flax and not flax):
            continue
        unit = min(figures[name] for name in flax) if target.to_flax else 1.0
        figures = {name: figure / unit for name, figure in figures.items()}
        own = contest[(names(contest) == JDROP) & (contest.metric == target.metric)]
        busy = _by_name(contest[contest.metric == "cpu ratio"])
        dtype, shape, low, high = own.iloc[0][["dtype", "shape", "low", "high"]]
        what = f"{target.what}, {dtype} {shape}, rate {target.rate}"
        # Just below a limit of 1 is better than flax.
        limit = np.nextafter(target.limit, 0) if target.to_flax else target.limit
        line = _judged(what, limit, figures[JDROP])
        if memory != "warm":
            line |= {"target": "", "met": ""}
        if not np.isnan(low):
            line["jdrop"] += f" ({low / unit:.3g} to {high / unit:.3g})"
            line["memory"] = str(memory)
        if busy and not target.to_flax:
            line["processor time"] = f"{busy[JDROP]:.3g}"
        yield line | {
            "flax": f"{figures[FLAX]:.3g}" if FLAX in figures else "",
            "flax, best keys": _best(figures, flax),
            "best other": _best(figures, [n for n in _peers(figures) if n not in flax]),
        }


def _growth(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Whether time and memory grow as the number of elements does."""
    own = rows[rows.contestant == "jdrop"]
    timed = own[(own.section == "growth") & (own.metric == "time")]
    elements = np.array([math.prod(map(int, s.split("x"))) for s in timed["shape"]])
    large = elements >= 10**7
    if large.sum() > 1:
        logs = np.log(elements[large]), np.log(timed.value.to_numpy()[large])
        what = f"growth of time from 1e+07 to {elements[-1]:.0e} elements, as a power"
        yield _judged(what, POWER, float(np.polyfit(*logs, 1)[0]))
    for metric, sizes in own[own.case == "growth"].groupby("metric"):
        # Small arrays have scalars and loop counters beside their words.
        growth = max(sizes.value) / sizes.value.iloc[0]
        yield _judged(f"growth of {metric} an element, to the first size", 1.0, growth)


def _judged(what: str, limit: float, figure: float) -> dict[str, str]:
    met = "yes" if figure <= limit else "**no**"
    texts = {"target": f"{limit:.4g}", "met": met, "jdrop": f"{figure:.3g}"}
    return {"what": what} | texts


def _by_name(contest: pd.DataFrame) -> dict[str, float]:
    return dict(zip(names(contest), contest.value, strict=True))


def _peers(figures: dict[str, float]) -> list[str]:
    return [n for n in figures if n not in NO_PEERS and not n.startswith("jdrop")]


def _best(figures: dict[str, float], among: list[str]) -> str:
    best = min(among, key=lambda name: figures[name], default="")
    return f"{figures[best]:.3g} ({best})" if best else ""
