"""The tables of what was timed: the targets, and every contest."""

import math
from collections.abc import Iterator

from benchmarks.costs.cells import seconds, shape, table
from benchmarks.costs.contestants import JDROP
from benchmarks.costs.regimes import Record
from benchmarks.costs.targets import rivals

KINDS = {
    "forward": "Forward",
    "gradient": "Value and gradient of the sum",
    "pullback": "Output and pullback of a cotangent",
    "alpha": "Alpha dropout",
    "channel": "One mask over rows and columns of images",
    "parts": "The draw and the apply, each alone",
    "draws": "Ways to draw the words, alone",
    "drops": "Ways to draw the words, with the apply",
    "applies": "Ways to apply the words",
    "eager": "Eager call",
    "compile": "Compile time of one dropout",
    "train": "Training step",
    "growth": "Growth",
}
# Kinds in which x is read once and y is written once.
ONE_PASS = ("forward", "alpha", "channel", "growth")


def targets(rows: list[Record]) -> str:
    """The table of targets.

    Args:
      rows: What `benchmarks.targets.verdicts` returns.

    Returns:
      Markdown, or "" without rows.
    """
    head = ("what", "target", "jdrop", "met", "flax, default keys", "best peer", "wins")
    return table(head, (_target(row) for row in rows))


def _target(row: Record) -> list[str]:
    measured = "" if row["measured"] is None else f"{row['measured']:.3g}"
    if "spread" in row:
        low, high = row["spread"]
        measured += f" ({low:.3g} to {high:.3g})"
    return [
        row["row"],
        f"{row['target']:.4g}",
        measured,
        "yes" if row["met"] else "**no**",
        f"{row['flax']:.3g}" if "flax" in row else "",
        f"{row['rival_measured']:.3g} ({row['rival']})" if "rival" in row else "",
        row.get("winner", ""),
    ]


def overview(records: list[Record]) -> str:
    """One line for each contest that has peers: jdrop, the best of them, who wins.

    Args:
      records: The records of a run.

    Returns:
      Markdown, or "" without such contests.
    """
    head = ("what", "x", "memory", "jdrop", "best peer", "wins")
    return table(head, map(_overview, contested(records)))


def contested(records: list[Record]) -> list[Record]:
    """The contests in which jdrop meets a peer."""
    timed = [record for record in records if record["kind"] in KINDS]
    return [r for r in timed if JDROP in r["results"] and rivals(r["results"])]


def fastest(record: Record) -> str:
    """The contestant with the shortest median: jdrop with default keys, or a peer."""
    results = record["results"]
    return min([JDROP, *rivals(results)], key=lambda n: results[n]["seconds"][1])


def _overview(record: Record) -> list[str]:
    results = record["results"]
    rival = min(rivals(results), key=lambda n: results[n]["seconds"][1])
    own, other = (results[name] for name in (JDROP, rival))
    return [
        record["case"] if record["kind"] == "train" else record["kind"],
        _x(record),
        record["regime"],
        f"{seconds(own['seconds'][1])}, {own['ratio'][1]:.3g}",
        f"{seconds(other['seconds'][1])}, {other['ratio'][1]:.3g} ({rival})",
        fastest(record).removesuffix(", threefry2x32"),
    ]


def contests(records: list[Record]) -> Iterator[tuple[str, str]]:
    """The tables of contests, one for each kind.

    Args:
      records: The records of a run.

    Yields:
      Titles and Markdown.
    """
    for kind, title in KINDS.items():
        own = [record for record in records if record["kind"] == kind]
        if own:
            what = "network" if kind == "train" else "x"
            head = [what, "memory", "who", "time", "quartiles", "ratio", "quartiles"]
            head += ["CPU time, ratio", "GB/s"]
            body = table(head, (row for r in own for row in _contest(r)))
            to = " or ".join(sorted({record["reference"] for record in own}))
            yield title, f"Ratios are to `{to}`.\n\n{body}"


def _contest(record: Record) -> Iterator[list[str]]:
    what = _x(record)
    if record["kind"] == "train":
        what = f"{record['case']}, rate {record['rate']}"
    results = sorted(record["results"].items(), key=lambda item: item[1]["seconds"][1])
    for name, result in results:
        low, middle, high = result["seconds"]
        ratio_low, ratio, ratio_high = result["ratio"]
        yield [
            what,
            record["regime"],
            name,
            seconds(middle),
            f"{seconds(low)} to {seconds(high)}",
            f"{ratio:.3g}",
            f"{ratio_low:.3g} to {ratio_high:.3g}",
            f"{result['cpu_ratio'][1]:.3g}",
            _gigabytes(record, name),
        ]


def _x(record: Record) -> str:
    return f"{record['dtype']} {shape(record)}, rate {record['rate']}"


def _gigabytes(record: Record, name: str) -> str:
    """The rate at which a contestant reads x and writes y, where it does just that."""
    if record["kind"] not in ONE_PASS:
        return ""
    size = 4 if record["dtype"] == "float32" else 2
    moved = 2 * size * math.prod(record["shape"])
    return f"{moved / record['results'][name]['seconds'][1] / 1e9:.3g}"
