"""The golden vectors: words that the stream must draw, shipped with the package.

`golden.json` holds them, and `benchmarks/regenerate_golden.py` writes it. Keys are
given by their words, so the vectors do not depend on how `jax.random` makes keys.
"""

import dataclasses
import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdrop._keys import key_for
from jdrop._mask import sample_mask
from jdrop._ops.units import dropout
from jdrop._stream import LANES, row_layout

LEGACY = "legacy"
"""Stands for an implementation where the key is an array of uint32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vector:
    """A key, and the words that come of it.

    Attributes:
      name: What it is called in reports.
      impl: The implementation of the key, as `jax.random.key` takes it, or "legacy".
      key: The words of the key.
      sha256: Hash of all the words that come of it: little-endian bytes, in C order.
      words: These words in C order, or only the first ones where they are many.
    """

    name: str
    impl: str
    key: tuple[int, ...]
    sha256: str = ""
    words: tuple[int, ...] = ()

    def make_key(self) -> jax.Array:
        """A fresh key, which nothing has consumed."""
        return self._wrap(np.array(self.key, np.uint32))

    def make_keys(self) -> jax.Array:
        """Two keys, of which this one is the second."""
        words = np.array(self.key, np.uint32)
        return self._wrap(np.stack([~words, words]))

    def _wrap(self, words: np.ndarray) -> jax.Array:
        data = jnp.asarray(words)
        if self.impl == LEGACY:
            return data
        return jax.random.wrap_key_data(data, impl=self.impl)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskVector(Vector):
    """What `sample_mask` draws; the attributes are its arguments."""

    shape: tuple[int, ...]
    rate: float
    broadcast_dims: tuple[int, ...] = ()
    offset: int = 0

    def draw(self, key: jax.Array, rate: jax.Array | None = None) -> jax.Array:
        """The packed words, at its own rate or at another."""
        return sample_mask(
            key,
            self.shape,
            self.rate if rate is None else rate,
            broadcast_dims=self.broadcast_dims,
            offset=self.offset,
        ).words

    def drop(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """The same mask, applied to x."""
        dims, offset = self.broadcast_dims, self.offset
        return dropout(key, x, self.rate, broadcast_dims=dims, offset=offset)

    def pack(self, kept: np.ndarray) -> list[np.ndarray]:
        """Packs what was seen to be kept of an array of the shape.

        Along shared axes all elements must agree, so they are packed twice: where all
        of them are kept, and where any of them is. The surplus bits of a row cannot be
        seen; they are taken from `words`, which are all there where a row has any.
        """
        return [
            self._pack(some(kept, axis=self.broadcast_dims, keepdims=True))
            for some in (np.all, np.any)
        ]

    def _pack(self, kept: np.ndarray) -> np.ndarray:
        rows, lanes = row_layout(kept.shape)
        surplus = -lanes % LANES
        bits = np.pad(kept.reshape(*rows, lanes), [(0, 0)] * len(rows) + [(0, surplus)])
        words = np.packbits(bits, axis=-1, bitorder="little").view("<u4")
        if surplus and words.size:
            expected = np.reshape(np.array(self.words, np.uint32), words.shape)
            words[..., -1] |= (
                expected[..., -1] >> (LANES - surplus) << (LANES - surplus)
            )
        return words


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyVector(Vector):
    """What `key_for` derives along a path."""

    path: tuple[str | int, ...]

    def derive(self, key: jax.Array, numbers: Sequence[jax.Array] = ()) -> jax.Array:
        """The words of the derived key; `numbers` replace the integers of the path."""
        left = iter(numbers)
        path = [
            next(left) if numbers and isinstance(part, int) else part
            for part in self.path
        ]
        derived = key_for(key, *path)
        return derived if self.impl == LEGACY else jax.random.key_data(derived)


@dataclasses.dataclass(frozen=True)
class Golden:
    """The contents of `golden.json`.

    Attributes:
      stream: The name of the stream that the vectors are of.
      masks: The vectors of `sample_mask`.
      keys: The vectors of `key_for`.
    """

    stream: str
    masks: tuple[MaskVector, ...]
    keys: tuple[KeyVector, ...]


def sha256(words: np.ndarray) -> str:
    """The hash that a vector keeps of its words."""
    return hashlib.sha256(np.ascontiguousarray(words, "<u4").tobytes()).hexdigest()


def to_hex(words: Sequence[int]) -> str:
    """Words as they stand in the file and in reports."""
    return " ".join(f"{int(word):08x}" for word in words)


def load_golden() -> Golden:
    """Reads the vectors that came with the package."""
    file = importlib.resources.files("jdrop") / "golden.json"
    return parse_golden(file.read_text(encoding="utf-8"))


def drawable(golden: Golden) -> tuple[Golden, list[str]]:
    """The vectors whose kind of key this JAX has, and the kinds that it has not."""
    missing = []
    for vector in {vector.impl: vector for vector in golden.masks}.values():
        try:
            vector.make_key()
        except ValueError:
            missing.append(vector.impl)

    def has(vector: Vector) -> bool:
        return vector.impl not in missing

    masks, keys = filter(has, golden.masks), filter(has, golden.keys)
    return Golden(golden.stream, tuple(masks), tuple(keys)), missing


def parse_golden(text: str) -> Golden:
    """Reads the vectors from the text of a file."""
    content = json.loads(text)
    return Golden(
        content["stream"],
        tuple(MaskVector(**_fields(entry)) for entry in content["masks"]),
        tuple(KeyVector(**_fields(entry)) for entry in content["keys"]),
    )


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    words = {
        name: tuple(int(word, 16) for word in entry[name].split())
        for name in ("key", "words")
    }
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in {**entry, **words}.items()
    }
