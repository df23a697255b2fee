"""`docs/behaviour.md`: what `benchmarks.behaviour` saw, as tables."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.probes import DROPOUT, UNITS
from benchmarks.probes.observation import Probe

Report = dict[str, Any]

FUNCTIONS = (
    "jdrop",
    "flax.linen",
    "flax.nnx",
    "equinox",
    "haiku",
    "keras",
    "torch",
    "tensorflow",
)
MODULES = ("flax.linen", "jdrop.linen", "flax.nnx", "jdrop.nnx")
FAMILY = ("jdrop", "keras", "torch", "torch._refs", "timm", "torchvision")

PREFACE = """\
# What dropout does, as observed

`{command}` wrote this page on {date}, with Python {python}, JAX {jax}, {system}.

A cell is made from what happened when the call was made: the values that came out, or
the type of the exception. **✗** is an outcome other than the second column's, which is
what jdrop asks of itself; the other libraries have not promised it. What stands in
brackets says why there was nothing to look at. A bias is named where it exceeds five
standard deviations of its estimate; where none does, that bound is. The fingerprint is
for comparing two pages, made with two versions of JAX, say. All of it ran on the CPU: a
GPU may keep other residuals and draw another mask in a library that does not promise
one.
"""

REMARKS = {
    "Functions": "The dropout of each library, called as the list above says.",
    "Drop-in modules": (
        "jdrop's modules beside the ones that they replace. Where these keep a rule of "
        "Flax, such as the mode by position, a program that migrates keeps working."
    ),
    "The family": (
        "Alpha dropout, Gaussian dropout and drop block, where a library has them; "
        "Flax, equinox, haiku and TensorFlow have none of these."
    ),
}


def render(report: Report) -> str:
    """The page.

    Args:
      report: What `benchmarks.behaviour` collected.

    Returns:
      Markdown.
    """
    tables = {
        "Functions": _table(report, DROPOUT, FUNCTIONS),
        "Drop-in modules": _table(report, DROPOUT, MODULES),
        "The family": _table(report, UNITS, FAMILY),
    }
    parts = [PREFACE.format(**report), _versions(report)]
    for title, table in tables.items():
        if table:
            parts += [f"## {title}\n\n{REMARKS[title]}\n", table]
    parts += ["## Where another library does better than jdrop\n", _better(report)]
    return "\n".join(parts)


def better(report: Report) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows in which another library does better than jdrop.

    A library does better if it meets what jdrop misses, or at a lower cost.

    Args:
      report: What `benchmarks.behaviour` collected.

    Yields:
      The title of a row, and what each of the better libraries showed.
    """
    own = _rows(report, "jdrop")
    others = [name for name in report["peers"] if not name.startswith("jdrop")]
    for title, mine in own.items():
        found = {
            name: seen["text"]
            for name in others
            if (seen := _rows(report, name).get(title)) and _beats(seen, mine)
        }
        if found:
            yield title, found


def _beats(seen: dict[str, Any], mine: dict[str, Any]) -> bool:
    if mine["meets"] is False and seen["meets"]:
        return True
    costs = seen["cost"], mine["cost"]
    return None not in costs and costs[0] < costs[1]


def _better(report: Report) -> str:
    lines = []
    for title, found in better(report):
        mine = _rows(report, "jdrop")[title]["text"]
        texts = "; ".join(f"{name} {text}" for name, text in found.items())
        lines.append(f"- {title}: jdrop {mine}; {texts}.\n")
    return "".join(lines) or "In none of these rows.\n"


def _versions(report: Report) -> str:
    lines = ["| library | version | called as |", "|---|---|---|"]
    for name, peer in report["peers"].items():
        called = f"`{peer['call']}`" if "call" in peer else _cell(peer["missing"])
        lines.append(_line([name, peer.get("version", "-"), called]))
    return "\n".join(lines) + "\n"


def _table(report: Report, probes: Sequence[Probe], names: Sequence[str]) -> str:
    """A row a probe, a column a library; nothing if none of them is jdrop's."""
    seen = {name: _rows(report, name) for name in names if _rows(report, name)}
    if not any(name.startswith("jdrop") for name in seen):
        return ""
    asked = [probe for probe in probes if _has_cell(seen.values(), probe.title)]
    if not asked:
        return ""
    head = ["case", "jdrop must", *seen]
    lines = [_line(head), _line(["---"] * len(head))]
    for probe in asked:
        cells = [_mark(rows[probe.title]) for rows in seen.values()]
        lines.append(_line([probe.title, probe.must, *cells]))
    return "\n".join(lines) + "\n"


def _has_cell(columns: Iterable[dict[str, Any]], title: str) -> bool:
    """Whether any library could be asked."""
    return any(
        title in rows and not rows[title]["text"].startswith("(") for rows in columns
    )


def _rows(report: Report, name: str) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = report["peers"].get(name, {}).get("rows", {})
    return rows


def _mark(seen: dict[str, Any]) -> str:
    return ("✗ " if seen["meets"] is False else "") + _cell(seen["text"])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
