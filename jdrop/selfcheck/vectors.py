"""The golden vectors: keys, and the words that the stream must draw from them.

`golden.json` holds them. A key is given by its words, so the vectors do not depend on
how `jax.random` makes keys.
"""

import dataclasses
import hashlib
import importlib.resources
import json
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jdrop
from jdrop._stream import BITS, Layout

LEGACY = "legacy"
"""Stands for an implementation where the key is an array of uint32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vector:
    """A key, and the words that come of it.

    Attributes:
      name: What it is called in reports.
      impl: The implementation of the key, as `jax.random.key` takes it, or "legacy".
      key: The words of the key.
      sha256: Hash of all the words that come of it: little-endian bytes, in C order,
        with 0 for the surplus bits of a mask.
      words: These words in C order, or only the first ones where they are many.
    """

    name: str
    impl: str
    key: tuple[int, ...]
    sha256: str = ""
    words: tuple[int, ...] = ()

    def make_key(self) -> jax.Array:
        """A fresh key, which nothing has consumed."""
        words = jnp.asarray(np.array(self.key, np.uint32))
        if self.impl == LEGACY:
            return words
        return jax.random.wrap_key_data(words, impl=self.impl)

    def meaning(self, words: np.ndarray) -> np.ndarray:
        """What means something of the words that were drawn: here, all of them."""
        return words


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskVector(Vector):
    """What `sample_mask` draws; the attributes are its arguments."""

    shape: tuple[int, ...]
    rate: float
    broadcast_dims: tuple[int, ...] = ()
    offset: int | tuple[int, ...] = 0
    within: tuple[int, ...] | None = None

    def draw(self, key: jax.Array, **traced: Any) -> jax.Array:
        """The packed words; the rate and the offset may be given as traced."""
        return self._sample(key, **traced).words

    def drop(self, key: jax.Array, x: jax.Array, **traced: Any) -> jax.Array:
        """The same mask, applied to x, which may be a part of an array of the shape."""
        if self.within:
            return jdrop.apply_mask(self._sample(key, **traced), x)
        options = {"broadcast_dims": self.broadcast_dims, "offset": self.offset}
        return jdrop.dropout(key, x, self.rate, **{**options, **traced})

    def _sample(self, key: jax.Array, **traced: Any) -> jdrop.Mask:
        names = ("rate", "broadcast_dims", "offset", "within")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        return jdrop.sample_mask(key, self.shape, **{**options, **traced})

    def pack(self, kept: np.ndarray) -> list[np.ndarray]:
        """Packs what was seen to be kept of an array of the shape.

        Along shared axes all elements must agree, so they are packed twice: where all
        of them are kept, and where any of them is.
        """
        layout = self._layout()
        blocks = (*layout.words[:-1], BITS, layout.columns)
        packed = []
        for some in (np.all, np.any):
            bits = some(kept, axis=self.broadcast_dims)
            rows = bits.reshape(*layout.outer, math.prod(layout.rows), layout.columns)
            missing = [(0, 0)] * rows.ndim
            missing[-2] = (0, -rows.shape[-2] % BITS)
            lanes = np.moveaxis(np.pad(rows, missing).reshape(blocks), -2, -1)
            octets = np.packbits(lanes, axis=-1, bitorder="little")
            packed.append(octets.view("<u4")[..., 0])
        return packed

    def meaning(self, words: np.ndarray) -> np.ndarray:
        """The words without their surplus bits."""
        surplus = -math.prod(self._layout().rows) % BITS
        words = words.copy()
        words[..., -1:, :] &= np.uint32(2**BITS - 1 >> surplus)
        return words

    def _layout(self) -> Layout:
        part, whole = (
            tuple(1 if i in self.broadcast_dims else n for i, n in enumerate(shape))
            for shape in (self.shape, self.within or self.shape)
        )
        return Layout.of(whole).resized(part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyVector(Vector):
    """What `key_for` derives along a path."""

    path: tuple[str | int, ...]

    def derive(self, key: jax.Array, numbers: Iterable[jax.Array] = ()) -> jax.Array:
        """The words of the derived key; the path's integers may be given as traced."""
        left = iter(numbers)
        path = [next(left, p) if isinstance(p, int) else p for p in self.path]
        derived = jdrop.key_for(key, *path)
        return derived if self.impl == LEGACY else jax.random.key_data(derived)


@dataclasses.dataclass(frozen=True)
class Golden:
    """The contents of `golden.json`: a stream by name, its masks and derived keys."""

    stream: str
    masks: tuple[MaskVector, ...]
    keys: tuple[KeyVector, ...]

    def drawable(self) -> tuple["Golden", list[str]]:
        """The vectors whose kind of key this JAX has, and the kinds that it has not."""
        missing = []
        for vector in {vector.impl: vector for vector in self.masks}.values():
            try:
                vector.make_key()
            except ValueError:
                missing.append(vector.impl)
        masks = tuple(vector for vector in self.masks if vector.impl not in missing)
        keys = tuple(vector for vector in self.keys if vector.impl not in missing)
        return Golden(self.stream, masks, keys), missing


def sha256(words: np.ndarray) -> str:
    """The hash that a vector keeps of its words."""
    return hashlib.sha256(np.ascontiguousarray(words, "<u4").tobytes()).hexdigest()


def to_hex(words: Iterable[int]) -> str:
    """Words as they stand in the file and in reports."""
    return " ".join(f"{int(word):08x}" for word in words)


def load_golden() -> Golden:
    """Reads the vectors that came with the package."""
    file = importlib.resources.files("jdrop.selfcheck") / "golden.json"
    return parse_golden(file.read_text(encoding="utf-8"))


def parse_golden(text: str) -> Golden:
    """Reads the vectors from the text of a file."""
    content = json.loads(text)
    masks = tuple(MaskVector(**_fields(entry)) for entry in content["masks"])
    keys = tuple(KeyVector(**_fields(entry)) for entry in content["keys"])
    return Golden(content["stream"], masks, keys)


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    for name in ("key", "words"):
        entry[name] = [int(word, 16) for word in entry[name].split()]
    return {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
