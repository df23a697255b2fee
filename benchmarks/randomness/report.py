"""Renders the recorded results as the page `docs/statistics.md`."""

import math
from collections.abc import Iterable
from pathlib import Path

from scipy import stats

from benchmarks.randomness import report_battery, testu01, text
from benchmarks.randomness.controls import CONTROLS
from benchmarks.randomness.evidence import ALL_LAGS, FAMILY_WISE, Finding, lags_to
from benchmarks.randomness.report_battery import Record, table

PAGE = Path(__file__).parent.parent.parent / "docs" / "statistics.md"


def page(laws: Record, battery: Record, crushes: Record) -> str:
    """The whole page.

    Args:
      laws: What the command `laws` recorded.
      battery: What the command `battery` recorded.
      crushes: What the command `testu01` recorded.

    Returns:
      Markdown.
    """
    parts = [
        text.INTRODUCTION,
        _runs(laws, battery, crushes),
        text.LAWS.format(**_sizes(laws, "sound")),
        _laws(laws),
        text.CONTROLS.format(**_sizes(laws, "repeated lane")),
        _controls(laws),
        text.SENSITIVITY,
        _sensitivity(laws["draws"]["sound"]),
        text.BATTERY,
        report_battery.totals(battery),
        report_battery.against_reference(battery),
        text.RERUNS,
        report_battery.reruns(battery["sound"]),
        text.TESTU01,
        _testu01(crushes),
        text.LIMITS,
        text.P_VALUES,
        report_battery.p_values(battery["sound"]),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _runs(laws: Record, battery: Record, crushes: Record) -> str:
    """What was run, when, on what."""
    batteries = [*_battery_runs(battery), *_crush_runs(crushes)]
    runs = {run["command"]: run for run in batteries}
    lines = [
        [
            f"`{run['command']}`",
            run["date"],
            f"{run['processor']}, {run['cores']} cores",
        ]
        for run in [laws, *runs.values()]
    ]
    newest = laws["versions"] | next(iter(battery["sound"].values()))["versions"]
    versions = ", ".join(f"{name} {number}" for name, number in newest.items())
    return table(["command", "date (UTC)", "on"], lines) + f"\n\nVersions: {versions}."


def _battery_runs(battery: Record) -> Iterable[Record]:
    return (run for layouts in battery.values() for run in layouts.values())


def _crush_runs(crushes: Record) -> Iterable[Record]:
    for layouts in crushes.values():
        yield from _battery_runs(layouts)


def _testu01(crushes: Record) -> str:
    """Failures of each battery and layout, a column for each number of rounds."""
    tried = {
        int(n) for layouts in crushes.values() for by in layouts.values() for n in by
    }
    columns = sorted(tried)
    rows = []
    for name, layouts in crushes.items():
        for layout, by_rounds in layouts.items():
            some = next(iter(by_rounds.values()))
            cells = (_crushed(by_rounds.get(str(rounds))) for rounds in columns)
            rows.append([name, len(some["p_values"]), layout, *cells])
    heads = [f"{rounds} rounds" for rounds in columns]
    return table(["battery", "p-values", "layout", *heads], rows)


def _crushed(run: Record | None) -> str:
    if run is None:
        return ""
    failed, weak = testu01.judged(run)
    failures = f"**{failed} fail**" if failed else "0"
    return f"{failures}, {weak} weak" if weak else failures


def _sizes(laws: Record, draw: str) -> Record:
    """The sizes of a run, shapes in round brackets."""
    sizes = laws["draws"][draw]["sizes"]
    return {
        name: tuple(size) if isinstance(size, list) else size
        for name, size in sizes.items()
    }


def _findings(laws: Record, draw: str) -> list[Finding]:
    return [Finding(**finding) for finding in laws["draws"][draw]["findings"]]


def _laws(laws: Record) -> str:
    """The sound draw, law by law, and the controls that fail the same law."""
    sound = _findings(laws, "sound")
    caught = {
        name: {finding.law for finding in _findings(laws, name) if finding.failed}
        for name in CONTROLS
    }
    rows = []
    for law in dict.fromkeys(finding.law for finding in sound):
        found = [finding for finding in sound if finding.law == law]
        worst = min(found, key=lambda finding: finding.p_value)
        catches = [name for name in CONTROLS if law in caught[name]]
        rows.append(
            [law, len(found), f"{worst.p_value:.3g}", f"{worst.adjusted:.3g}"]
            + [", ".join(catches) or "none"]
        )
    failed = sum(finding.failed for finding in sound)
    head = ["law", "rates", "smallest p", "adjusted (Holm)", "controls that fail it"]
    return (
        f"**{failed} of {len(sound)} tests fail** at a family-wise level of "
        f"{FAMILY_WISE:g}; the smallest adjusted p-value is "
        f"{min(finding.adjusted for finding in sound):.3g}.\n\n{table(head, rows)}"
    )


def _controls(laws: Record) -> str:
    rows = []
    for name in CONTROLS:
        findings = _findings(laws, name)
        worst = min(findings, key=lambda finding: finding.p_value)
        failed = sum(finding.failed for finding in findings)
        full = _sizes(laws, name) == _sizes(laws, "sound")
        rows.append(
            [name, text.BROKEN[name], "full" if full else "less"]
            + [f"{failed} of {len(findings)}"]
            + [f"{worst.law}, rate {worst.rate:.3g}", _tiny(worst.adjusted)]
        )
    head = ["control", "what is wrong", "data", "tests failed", "the strongest"]
    return table([*head, "adjusted p"], rows)


def _tiny(p_value: float) -> str:
    return f"{p_value:.3g}" if p_value else "below 1e-300"


def _sensitivity(sound: Record) -> str:
    """Faults that the two simplest laws would catch, from the normal distribution."""
    keys, (rows, columns) = sound["sizes"]["keys"], sound["sizes"]["shape"]
    bits, tests = keys * rows * columns, len(sound["findings"])
    lags = len(lags_to(ALL_LAGS, columns))
    alone, pooled = (
        float(stats.norm.isf(FAMILY_WISE / 2 / tests / places)) for places in (1, lags)
    )
    lines = []
    for rate in dict.fromkeys(finding["rate"] for finding in sound["findings"]):
        p = min(rate, 1 - rate)
        count = alone * math.sqrt(p * (1 - p) / bits)
        lag = pooled * math.sqrt((1 + p) / (1 - p) / (bits / 2))
        lines.append([f"{rate:.4g}", f"{count:.2g}", f"{lag:.2g}"])
    return table(["rate", "error of the rate", "correlation at one lag"], lines)
