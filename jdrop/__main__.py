"""`python -m jdrop`: whether this machine draws the masks that the stream promises."""

import argparse
import collections
import dataclasses
import importlib.metadata
import json
import platform
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

import jdrop
from jdrop._golden import Golden, drawable, load_golden
from jdrop._selfcheck import Outcome, run
from jdrop._ways import all_checks

DESCRIPTION = """\
Draws the golden vectors, which came with the package, in every way that this
machine offers, and compares every packed word with what it must be.

The vectors are masks and derived keys, of every kind of key, shape, rate,
shared axes and offset. All of them are drawn eagerly and under jit, and a few
of every kind with a traced rate, under vmap, scan and remat, by dropout of
each dtype, on every local device, and sharded over all of these. --json names
them for each way.

The exit status is 0 if every word agrees and 1 if not.
"""

SETTINGS = (
    "jax_enable_x64",
    "jax_threefry_partitionable",
    "jax_default_prng_impl",
    "jax_debug_key_reuse",
)
WIDTH = 80


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    as_json = parse(arguments).json
    say = (lambda lines: None) if as_json else print_lines
    start = time.perf_counter()
    machine = describe_machine()
    golden, missing = drawable(load_golden())
    say(head_lines(machine, golden, missing))
    outcomes = []
    for outcome in run_all(golden):
        outcomes.append(outcome)
        say(outcome_lines(outcome))
    agrees = all(outcome.status in ("agrees", "skipped") for outcome in outcomes)
    seconds = time.perf_counter() - start
    say(closing_lines(outcomes, seconds))
    if as_json:
        checks = [dataclasses.asdict(outcome) for outcome in outcomes]
        report = {"agrees": agrees, "seconds": seconds, **machine}
        print(json.dumps({**report, "missing_keys": missing, "checks": checks}))
    return 0 if agrees else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jdrop",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def describe_machine() -> dict[str, Any]:
    """The versions, the devices and the settings that a report needs."""
    devices = jax.local_devices()
    packages = ("jax", "jaxlib", "flax", "numpy")
    return {
        "jdrop": jdrop.__version__,
        "stream": jdrop.STREAM,
        **{name: version_of(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "devices": [{"id": d.id, "kind": d.device_kind} for d in devices],
        "settings": {name: getattr(jax.config, name, None) for name in SETTINGS},
    }


def version_of(package: str) -> str | None:
    """The version of an installed package, found without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_all(golden: Golden) -> Iterator[Outcome]:
    """Runs the checks one by one, and says on a terminal which one is running."""
    checks = all_checks(golden)
    known: dict[str, Any] = {}
    for number, check in enumerate(checks, 1):
        text = f"{number}/{len(checks)} {check.name} ..."
        if sys.stderr.isatty():
            print(text, end="\r", file=sys.stderr, flush=True)
        outcome = run(check, known)
        if sys.stderr.isatty():
            print(" " * len(text), end="\r", file=sys.stderr, flush=True)
        yield outcome


def head_lines(
    machine: dict[str, Any], golden: Golden, missing: list[str]
) -> Iterator[str]:
    """What was checked where: versions, devices, settings, vectors."""
    kinds = collections.Counter(device["kind"] for device in machine["devices"])
    packages = [
        f"{name} {machine[name]}" for name in ("jax", "jaxlib", "flax", "numpy")
    ]
    count = f"{len(golden.masks)} masks and {len(golden.keys)} keys by name"
    lacks = f"; this JAX has no {', '.join(missing)} keys" if missing else ""
    rows = {
        "jdrop": f"{machine['jdrop']}, stream {machine['stream']}",
        "packages": ", ".join(p for p in packages if not p.endswith("None")),
        "Python": f"{machine['python']} on {machine['platform']}",
        "devices": ", ".join(f"{n} x {kind}" for kind, n in kinds.items())
        + f" (backend {machine['backend']})",
        "settings": ", ".join(
            f"{name.removeprefix('jax_')} {value}"
            for name, value in machine["settings"].items()
        ),
        "vectors": count + lacks,
    }
    for name, text in rows.items():
        yield from hang(f"{name:<10}", text)
    yield from ("", f"{'check':<26}{'vectors':>7}  result")


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """One row of the table, and the first difference under it."""
    mark = {"agrees": printable("✓", "ok"), "skipped": f"skipped: {outcome.reason}"}
    result = mark.get(outcome.status, f"{printable('✗', '!!')} {outcome.status}")
    yield f"{outcome.name:<26}{len(outcome.vectors):>7}  {result}"
    if outcome.status == "failed":
        yield from hang("    ", textwrap.shorten(outcome.reason or "", 2 * WIDTH))
    if difference := outcome.difference:
        place = "hash" if difference.word is None else f"word {difference.word}"
        yield f"    {difference.vector}: {place}"
        yield f"    expected {difference.expected}"
        yield f"    got      {difference.got}"


def closing_lines(outcomes: Sequence[Outcome], seconds: float) -> Iterator[str]:
    """The verdict."""
    count = collections.Counter(outcome.status for outcome in outcomes)
    wrong = count["differs"] + count["failed"]
    ran = wrong + count["agrees"]
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    yield ""
    yield f"{count['agrees']} of {ran} checks agree{skipped}, in {seconds:.1f} s."
    if wrong:
        yield f"This machine does NOT draw the masks of {jdrop.STREAM}."
        yield "Please report it, with the output of python -m jdrop --json."
    else:
        yield f"This machine draws the masks of {jdrop.STREAM}."


def hang(label: str, text: str) -> list[str]:
    """A text beside its label, in lines that fit a terminal."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=label, subsequent_indent=" " * len(label)
    )


def printable(text: str, plain: str) -> str:
    """The text, or the plain one where the output cannot encode it."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return plain
    return text


def print_lines(lines: Iterator[str]) -> None:
    """Prints at once, so that each row is seen when it is known."""
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
