"""The tables of what is exact: bytes, words, collectives, blocks."""

from collections.abc import Iterator

from benchmarks.costs.cells import shape, table
from benchmarks.costs.regimes import Record


def sections(records: list[Record]) -> Iterator[tuple[str, str]]:
    """The tables that have something to say.

    Args:
      records: The records of a run.

    Yields:
      Titles and Markdown.
    """
    for title, function in TABLES.items():
        body = function(records)
        if body:
            yield title, body


def _residuals(records: list[Record]) -> str:
    rows = [
        [
            f"{record['dtype']} {shape(record)}",
            name,
            ", ".join(result["arrays"]),
            result["bytes"],
            f"{result['bytes_per_element']:.4g}",
        ]
        for record in records
        if record["kind"] == "residual"
        for name, result in record["results"].items()
    ]
    return table(("x", "who", "arrays", "bytes", "bytes per element"), rows)


def _peaks(records: list[Record]) -> str:
    rows = [
        [
            f"{record['case']}, {record['tokens']} tokens",
            name,
            f"{result['plain'] / 2**20:.1f}",
            f"{result['checkpoint'] / 2**20:.1f}",
        ]
        for record in records
        if record["kind"] == "peak"
        for name, result in record["results"].items()
    ]
    return table(("model", "who", "MiB", "MiB with jax.checkpoint"), rows)


def _growth(records: list[Record]) -> str:
    rows = [
        [
            f"{record['elements']:.0e}",
            f"{record['words'] / record['elements']:.5f}",
            f"{record['temporary_bytes'] / record['elements']:.5f}",
        ]
        for record in records
        if record["kind"] == "growth"
    ]
    return table(("elements", "words an element", "temporary bytes an element"), rows)


def _scaling(records: list[Record]) -> str:
    rows = [
        [
            f"{record['devices']}{' (on paper)' if record.get('paper') else ''}",
            "x".join(map(str, record["mesh"])),
            record["placement"],
            name,
            result["words"],
            result["words"] * record["devices"],
            ", ".join(f"{n} {k}" for k, n in result["collectives"].items()) or "none",
        ]
        for record in records
        if record["kind"] == "scaling"
        for name, result in record["results"].items()
    ]
    head = ("devices", "mesh", "sharded", "who", "words a device", "in all", "moves")
    return table(head, rows)


def _programs(records: list[Record]) -> str:
    rows = [
        [
            f"{record['dtype']} {shape(record)}, rate {record['rate']}",
            record["loops"],
            record["fusions"],
            ", ".join(record["fused_draws"]) or "none",
        ]
        for record in records
        if record["kind"] == "program"
    ]
    return table(("x", "loops", "fusions", "draws fused into the apply"), rows)


def _work(records: list[Record]) -> str:
    rows = [
        [
            record["contestant"],
            record["rate"],
            f"{record['blocks_per_element']:.5g}",
            f"{record.get('integer_operations_per_element', ''):.4}",
        ]
        for record in records
        if record["kind"] == "work"
    ]
    return table(
        ("who", "rate", "threefry blocks an element", "uint32 operations an element"),
        rows,
    )


def _left_out(records: list[Record]) -> str:
    rows = [
        [r["what"], r["why"]] if r["kind"] == "left out" else [r["where"], "failed"]
        for r in records
        if r["kind"] in ("left out", "failure")
    ]
    return table(("what", "why"), rows)


def _faults(records: list[Record]) -> str:
    rows = [
        [
            record["regime"],
            f"{record['mebibytes']:g}",
            f"{record['faults_per_call']:g}",
        ]
        for record in records
        if record["kind"] == "faults"
    ]
    return table(("memory", "MiB of x", "page faults a call of x * c"), rows)


TABLES = {
    "The states of memory": _faults,
    "Kept for the backward pass": _residuals,
    "Temporary memory of a training step": _peaks,
    "Growth of memory": _growth,
    "Over devices": _scaling,
    "The compiled program": _programs,
    "Work": _work,
    "Left out": _left_out,
}
