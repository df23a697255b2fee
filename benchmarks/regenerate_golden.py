"""Rewrites `jdrop/golden.json`, the words that the stream must draw.

    python -m benchmarks.regenerate_golden

Run it when the stream changes, after giving the stream a new name. While the name
stays, a vector that is there may neither change nor go; `--force` overrides that.
Adding vectors is always allowed: add them to MASKS or KEYS below.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import jdrop
from jdrop._golden import (
    LEGACY,
    Golden,
    KeyVector,
    MaskVector,
    Vector,
    parse_golden,
    sha256,
    to_hex,
)

AnyVector = TypeVar("AnyVector", bound=Vector)

GOLDEN = Path(jdrop.__file__).parent / "golden.json"

# Up to so many words are written in full, and of more than that the first few.
FULL, FEW = 64, 8

# The first hexadecimal digits of the fraction of pi.
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
KEY_WORDS = {
    "threefry2x32": 2,
    "threefry4x32": 4,
    "philox2x32": 1,
    "philox4x32": 2,
    "rbg": 4,
    "unsafe_rbg": 4,
    LEGACY: 2,
}

RATES: dict[str, float] = {
    "0": 0.0,
    "0.1": 0.1,
    "1/4": 1 / 4,
    "1/3": 1 / 3,
    "1/2": 1 / 2,
    "0.9": 0.9,
    "1": 1.0,
}
# Over the large mask, a rate of 1e-7 drops 0.56 elements in expectation; this key makes
# it two.
LARGE_RATES: dict[str, float] = {
    "0.1": 0.1,
    "1e-4": 1e-4,
    "1 - 1e-4": 1 - 1e-4,
    "1e-7": 1e-7,
}
LARGE_KEY = (0, 3)

LAYOUTS: dict[str, dict[str, Any]] = {
    "scalar": {"shape": (), "rate": 0.5},
    "empty": {"shape": (3, 0), "rate": 0.5},
    "1-d": {"shape": (1000,), "rate": 0.1},
    "one lane over": {"shape": (33,), "rate": 0.1},
    "short rows": {"shape": (60, 10), "rate": 0.5},
    "merged rows": {"shape": (7, 4, 5), "rate": 0.25},
    "merged to axis 0": {"shape": (5, 2, 3, 4), "rate": 0.9},
    "odd sizes": {"shape": (3, 5, 7, 11), "rate": 1 / 3},
    "image": {"shape": (2, 8, 12, 3), "rate": 0.25, "offset": 5},
    "feature maps": {"shape": (2, 4, 5, 32), "rate": 0.1},
    "shared pixels": {"shape": (8, 6, 5, 16), "rate": 0.25, "broadcast_dims": (1, 2)},
    "shared last axis": {"shape": (5, 12, 40), "rate": 0.1, "broadcast_dims": (2,)},
    "shared examples": {
        "shape": (5, 70),
        "rate": 0.5,
        "broadcast_dims": (0,),
        "offset": 3,
    },
    "shared everywhere": {"shape": (4, 5), "rate": 0.5, "broadcast_dims": (0, 1)},
    "offset": {"shape": (16, 40), "rate": 0.1, "offset": 1000},
    "offset wraps": {"shape": (16, 40), "rate": 0.1, "offset": 2**32 - 8},
}


def mask_vectors() -> Iterator[MaskVector]:
    """What the masks are of; their words are still to be drawn."""
    threefry: dict[str, Any] = {"impl": "threefry2x32", "key": PI[:2]}
    small: dict[str, Any] = {"shape": (4, 50), "rate": 0.1}
    for name, rate in RATES.items():
        yield MaskVector(name=f"rate {name}", **threefry, **{**small, "rate": rate})
    for impl, size in KEY_WORDS.items():
        yield MaskVector(name=f"{impl} key", impl=impl, key=PI[-size:], **small)
    for name, word in {"least": 0, "greatest": 2**32 - 1}.items():
        extreme = {**threefry, "key": (word, word)}
        yield MaskVector(name=f"{name} key", **extreme, **small)
    for name, layout in LAYOUTS.items():
        yield MaskVector(name=name, **threefry, **layout)
    for name, rate in LARGE_RATES.items():
        large: dict[str, Any] = {"shape": (1680, 3360), "rate": rate}
        yield MaskVector(
            name=f"large, {name}", **{**threefry, "key": LARGE_KEY}, **large
        )


def key_vectors() -> Iterator[KeyVector]:
    """What the derived keys are of."""
    for impl, size in KEY_WORDS.items():
        key, path = PI[:size], ("encoder", "dropout", 17)
        yield KeyVector(name=f"{impl} by name", impl=impl, key=key, path=path)
    threefry: dict[str, Any] = {"impl": "threefry2x32", "key": PI[:2]}
    yield KeyVector(name="by numbers", **threefry, path=(0, 2**32 - 1))
    yield KeyVector(name="by no letter", **threefry, path=("",))
    yield KeyVector(name="by Greek letter", **threefry, path=("Ω",))


def draw() -> Golden:
    """The vectors, with the words that this version of the stream draws."""
    masks = (fill(vector, vector.draw(vector.make_key())) for vector in mask_vectors())
    keys = (fill(vector, vector.derive(vector.make_key())) for vector in key_vectors())
    return Golden(jdrop.STREAM, tuple(masks), tuple(keys))


def fill(vector: AnyVector, words: Any) -> AnyVector:
    """The vector with the words that came of it."""
    flat = np.asarray(words).ravel()
    shown = tuple(int(word) for word in flat[: flat.size if flat.size <= FULL else FEW])
    return dataclasses.replace(vector, sha256=sha256(flat), words=shown)


def changed(old: Golden, new: Golden) -> list[str]:
    """Names of the vectors of one stream that differ or are gone."""
    if old.stream != new.stream:
        return []
    kept = {(type(vector), vector.name): vector for vector in new.masks + new.keys}
    return [
        vector.name
        for vector in old.masks + old.keys
        if kept.get((type(vector), vector.name)) != vector
    ]


def to_json(golden: Golden) -> str:
    """The text of the file, one vector a line, so that a difference can be read."""
    lists = {
        name: ",\n".join(
            f"    {json.dumps(_entry(v), ensure_ascii=False)}" for v in part
        )
        for name, part in (("masks", golden.masks), ("keys", golden.keys))
    }
    parts = [f'  "{name}": [\n{lines}\n  ]' for name, lines in lists.items()]
    stream = f'  "stream": {json.dumps(golden.stream)}'
    return "{\n" + ",\n".join([stream, *parts]) + "\n}\n"


def _entry(vector: Vector) -> dict[str, Any]:
    entry = {**dataclasses.asdict(vector), "key": to_hex(vector.key)}
    results = {"sha256": entry.pop("sha256"), "words": to_hex(entry.pop("words"))}
    return {**entry, **results}


def main(arguments: list[str] | None = None) -> int:
    """Writes the file, or says what forbids it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--force", action="store_true", help="change vectors of an unchanged stream"
    )
    parser.add_argument("--path", type=Path, default=GOLDEN, help="the file to write")
    options = parser.parse_args(arguments)
    golden = draw()
    old = (
        parse_golden(options.path.read_text("utf-8")) if options.path.exists() else None
    )
    names = changed(old, golden) if old else []
    if names and not options.force:
        print(
            f"Vectors of the stream {golden.stream} would change: "
            f"{', '.join(names)}. A name stands for one stream: give the new one "
            "another name (STREAM in jdrop/_stream.py), or pass --force.",
            file=sys.stderr,
        )
        return 1
    options.path.write_text(to_json(golden), "utf-8")
    count = len(golden.masks) + len(golden.keys)
    print(f"{options.path}: {count} vectors of {golden.stream}, {len(names)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
