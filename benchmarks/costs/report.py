"""A run as a page of Markdown: how it was had, targets and verdicts, then all of it."""

from benchmarks.costs import exact_tables, timed_tables
from benchmarks.costs.cells import table
from benchmarks.costs.regimes import Record

METHOD = """\
Times are medians of interleaved rounds, with quartiles; compilation is apart. Ratios
are medians of the ratios within a round. Memory is *warm* where the heap keeps its
pages, *fresh* where glibc hands out new ones for each large array (its default), and
*device* on an accelerator."""
NOT_FOR_FIGURES = """\
**This was a quick or a shrunk run: it shows that the benchmark works, and its times
mean little.**"""


def markdown(run: Record) -> str:
    """Renders a run.

    Args:
      run: What `benchmarks.speed` writes as JSON.

    Returns:
      A page of Markdown.
    """
    parts = ["# Speed and memory", _facts(run), METHOD]
    if run["quick"] or run["shrink"] != 1:
        parts.append(NOT_FOR_FIGURES)
    sections = [("Targets", timed_tables.targets(run["targets"]))]
    sections.append(("Contests", timed_tables.overview(run["records"])))
    sections += timed_tables.contests(run["records"])
    sections += exact_tables.sections(run["records"])
    parts += [f"## {title}\n\n{body}" for title, body in sections if body]
    return "\n\n".join(parts) + "\n"


def _facts(run: Record) -> str:
    hardware, versions = run["hardware"], run["versions"]
    facts = {
        "date": run["date"],
        "command": f"`{run['command']}`",
        "hardware": ", ".join(f"{k} {v}" for k, v in hardware.items()),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "left out": ", ".join(run["absent"]) or "nothing",
        "took": f"{run['seconds']:.0f} s",
    }
    return table(("", ""), facts.items())
