"""Rewrites what names the stream or quotes its words.

    python -m benchmarks.regenerate_golden

That is `jdrop/selfcheck/golden.json`, the words that the stream must draw; the name and
the section "By hand" of docs/stream.md; and the name in CHANGELOG.md. Run it when the
stream changes, after giving the stream a new name. While the name stays, a vector that
is there may neither change nor go; `--force` overrides that. Adding vectors is always
allowed: add them to the tables below.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import jdrop
from benchmarks import by_hand
from benchmarks.records import ROOT
from jdrop.selfcheck import vectors
from jdrop.selfcheck.vectors import LEGACY, Golden, KeyVector, MaskVector, Vector

AnyVector = TypeVar("AnyVector", bound=Vector)

GOLDEN = Path("jdrop", "selfcheck", "golden.json")
PAGE, CHANGELOG = Path("docs", "stream.md"), Path("CHANGELOG.md")

# Up to so many words are written in full, and of more than that the first few.
FULL, FEW = 64, 8

# The first hexadecimal digits of the fraction of pi.
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
THREEFRY = {"impl": "threefry2x32", "key": PI[:2]}
KEY_WORDS = {"threefry2x32": 2, "threefry4x32": 4, "philox2x32": 1, "philox4x32": 2}
KEY_WORDS |= {"rbg": 4, "unsafe_rbg": 4, LEGACY: 2}

SMALL = {"shape": (60, 10), "rate": 0.1}
RATES = {"0": 0.0, "0.1": 0.1, "1/4": 1 / 4, "1/3": 1 / 3, "1/2": 1 / 2}
RATES |= {"0.9": 0.9, "1": 1.0}
OFFSETS = {"offset of whole words": 64, "uneven offset": 1001, "last offset": 2**32 - 1}

# Two devices cut the large mask between words, eight cut words too. Over all of it a
# rate of 1e-7 drops 0.56 elements in expectation; this key makes it two.
LARGE_RATES = {"0.1": 0.1, "1e-4": 1e-4, "1 - 1e-4": 1 - 1e-4, "1e-7": 1e-7}
LARGE = {"impl": "threefry2x32", "key": (0, 32), "shape": (6720, 840)}

ATTENTION = (2, 4, 64, 50)


def _part(offset: tuple[int, ...], within: tuple[int, ...]) -> dict[str, Any]:
    return {"offset": offset, "within": within}


# The name, the shape and the rate, and what is not as usual.
LAYOUTS: tuple[tuple[str, tuple[int, ...], float, dict[str, Any]], ...] = (
    ("scalar", (), 0.5, {}),
    ("empty", (3, 0), 0.5, {}),
    ("no rows", (0, 3), 0.5, {}),
    ("1-d", (1000,), 0.25, {"offset": 77}),
    ("one column", (65, 1), 0.25, {}),
    # Its last word is in word row 2^28 - 1; an example has 12 rows.
    ("merged rows, last offset", (5, 3, 4, 6), 0.25, {"offset": 2**33 // 12 - 5}),
    ("feature maps", (3, 5, 7, 11), 1 / 3, {}),
    ("image, last offset", (2, 7, 9, 3), 0.25, {"offset": 2**28 - 2}),
    # Counters that number all rows of all examples in 32 bits repeat offset 0 here.
    ("image, offset 65536", (2, 256, 256, 1), 0.5, {"offset": 65536}),
    ("attention", (2, 3, 40, 5), 0.25, {}),
    ("shared pixels", (40, 3, 4, 8), 0.25, {"broadcast_dims": (1, 2)}),
    ("shared last axis", (5, 12, 40), 0.25, {"broadcast_dims": (2,)}),
    ("shared examples", (3, 40, 5), 0.5, {"broadcast_dims": (0,), "offset": 3}),
    ("shared everywhere", (4, 5), 0.5, {"broadcast_dims": (0, 1)}),
    ("window of whole words", (1, 2, 20, 3), 0.1, _part((1, 1, 32, 20), ATTENTION)),
    ("uneven window", (1, 2, 20, 3), 0.1, _part((0, 2, 13, 47), ATTENTION)),
    ("window of merged rows", (2, 3, 4, 2), 0.25, _part((1, 4, 1, 2), (3, 8, 6, 5))),
    (
        *("shared window", (34, 10, 4), 0.5),
        {"broadcast_dims": (1,), **_part((20, 5, 2), (64, 40, 8))},
    ),
    # Its last word has the greatest counters that there are.
    (
        *("last window", (1, 37, 3), 0.5),
        _part((2**28 - 1, 2**21 - 37, 2**16 - 3), (2**28, 2**21, 2**16)),
    ),
)


def mask_vectors() -> Iterator[dict[str, Any]]:
    """The arguments of the masks."""
    for name, rate in RATES.items():
        yield {"name": f"rate {name}", **THREEFRY, **SMALL, "rate": rate}
    for impl, size in KEY_WORDS.items():
        yield {"name": f"{impl} key", "impl": impl, "key": PI[-size:], **SMALL}
    for name, word in {"least": 0, "greatest": 2**32 - 1}.items():
        yield {"name": f"{name} key", **THREEFRY, "key": (word, word), **SMALL}
    for name, offset in OFFSETS.items():
        yield {"name": name, **THREEFRY, **SMALL, "offset": offset}
    for name, shape, rate, more in LAYOUTS:
        yield {"name": name, **THREEFRY, "shape": shape, "rate": rate, **more}
    for name, rate in LARGE_RATES.items():
        yield {"name": f"large, {name}", **LARGE, "rate": rate}


def key_vectors() -> Iterator[dict[str, Any]]:
    """The arguments of the derived keys."""
    for impl, size in KEY_WORDS.items():
        key, path = PI[:size], ("encoder", "dropout", 17)
        yield {"name": f"{impl} by name", "impl": impl, "key": key, "path": path}
    yield {"name": "by numbers", **THREEFRY, "path": (0, 2**32 - 1)}
    yield {"name": "by no letter", **THREEFRY, "path": ("",)}
    yield {"name": "by Greek letter", **THREEFRY, "path": ("Ω",)}


def draw() -> Golden:
    """The vectors, with the words that this version of the stream draws."""
    masks = (MaskVector(**arguments) for arguments in mask_vectors())
    keys = (KeyVector(**arguments) for arguments in key_vectors())
    return Golden(
        jdrop.STREAM,
        tuple(fill(vector, vector.draw(vector.make_key())) for vector in masks),
        tuple(fill(vector, vector.derive(vector.make_key())) for vector in keys),
    )


def fill(vector: AnyVector, words: Any) -> AnyVector:
    """The vector with the words that came of it."""
    flat = vector.meaning(np.asarray(words)).ravel()
    shown = tuple(int(word) for word in flat[: flat.size if flat.size <= FULL else FEW])
    return dataclasses.replace(vector, sha256=vectors.sha256(flat), words=shown)


def changed(old: Golden, new: Golden) -> list[str]:
    """Names of the vectors of one stream that differ or are gone."""
    if old.stream != new.stream:
        return []
    kept = {*new.masks, *new.keys}
    return [vector.name for vector in (*old.masks, *old.keys) if vector not in kept]


def to_json(golden: Golden) -> str:
    """The text of the file, one vector a line, so that a difference can be read."""
    parts = [f'  "stream": {json.dumps(golden.stream)}']
    for name, part in (("masks", golden.masks), ("keys", golden.keys)):
        lines = (json.dumps(_entry(vector), ensure_ascii=False) for vector in part)
        parts.append(f'  "{name}": [\n    ' + ",\n    ".join(lines) + "\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _entry(vector: Vector) -> dict[str, Any]:
    entry = {**dataclasses.asdict(vector), "key": vectors.to_hex(vector.key)}
    digest, words = entry.pop("sha256"), vectors.to_hex(entry.pop("words"))
    return {**entry, "sha256": digest, "words": words}


def rewrite_pages(root: Path) -> None:
    """Writes the stream's name and its examples where pages have them."""
    changelog, page = root / CHANGELOG, root / PAGE
    unreleased = rename(r"## Unreleased \(.*stream ", changelog.read_text("utf-8"))
    changelog.write_text(unreleased, "utf-8")
    text = rename(r"Name of this version: \*\*`", page.read_text("utf-8"))
    before, heading, rest = text.partition(" By hand\n\n")
    after = "".join(rest.partition("\n## ")[1:])
    page.write_text(before + heading + by_hand.section() + after, "utf-8")


def rename(before: str, text: str) -> str:
    """The text with the stream's name after a pattern, which occurs in it once."""
    text, count = re.subn(f"({before})[\\w-]+", rf"\g<1>{jdrop.STREAM}", text)
    if count != 1:
        raise ValueError(f"a page names the stream once after {before!r}; got {count}")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Writes the files, or says what forbids it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--force", action="store_true", help="change vectors of an unchanged stream"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to write to")
    options = parser.parse_args(arguments)
    golden, names, path = draw(), [], options.root / GOLDEN
    if path.exists():
        old = vectors.parse_golden(path.read_text("utf-8"))
        names = changed(old, golden)
    if names and not options.force:
        print(
            f"Vectors of the stream {golden.stream} would change: "
            f"{', '.join(names)}. A name stands for one stream: give the new one "
            "another name (STREAM in jdrop/_stream.py), or pass --force.",
            file=sys.stderr,
        )
        return 1
    path.write_text(to_json(golden), "utf-8")
    rewrite_pages(options.root)
    count = len(golden.masks) + len(golden.keys)
    print(f"{path}: {count} vectors of {golden.stream}, {len(names)} changed")
    print(
        f"{options.root / PAGE} and {options.root / CHANGELOG}: its name, its examples"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
