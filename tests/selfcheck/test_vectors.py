"""The golden vectors: right by the oracle, of the stream's name, of every kind."""

import dataclasses

import numpy as np
import oracle
import pytest
from cases import KEY_IMPLEMENTATIONS

import jdrop
from jdrop.selfcheck.vectors import LEGACY, KeyVector, load_golden, sha256

GOLDEN = load_golden()
MASKS = {vector.name: vector for vector in GOLDEN.masks}
VECTORS = (*GOLDEN.masks, *GOLDEN.keys)


def by_name(vector):
    return vector.name


def arguments(vector):
    place = vector.broadcast_dims, vector.offset, vector.within
    return vector.key, vector.shape, vector.rate, *place


def split_of(vector):
    whole = vector.within or vector.shape
    return oracle.split(oracle.shared_shape(whole, vector.broadcast_dims))


def test_vectors_are_of_the_stream():
    assert GOLDEN.stream == jdrop.STREAM, "python -m benchmarks.regenerate_golden"


@pytest.mark.parametrize("vector", VECTORS, ids=by_name)
def test_vector_is_what_the_page_says(vector):
    if isinstance(vector, KeyVector):
        words = oracle.key_for(vector.key, *vector.path)
    else:
        words = vector.meaning(oracle.words(*arguments(vector)))
        if 0 < vector.rate < 1 and "large" in vector.name:
            assert 0 < np.bitwise_count(words).sum() < np.prod(vector.shape)
    assert sha256(words) == vector.sha256
    shown = words.size if words.size <= 64 else 8
    assert vector.words == tuple(words.ravel()[:shown])


def test_names_are_unique():
    assert len(MASKS) == len(GOLDEN.masks)
    assert len(set(map(by_name, GOLDEN.keys))) == len(GOLDEN.keys)


def test_vectors_cover_the_contract():
    masks = GOLDEN.masks
    every = {*KEY_IMPLEMENTATIONS, LEGACY}
    assert {vector.impl for vector in masks} == every
    assert {vector.impl for vector in GOLDEN.keys} == every
    rates = {0, 1, 0.5, 0.25, 0.1, 1 / 3, 0.9, 1e-4, 1 - 1e-4, 1e-7}
    assert {vector.rate for vector in masks} == rates
    assert {len(vector.shape) for vector in masks} == {0, 1, 2, 3, 4}
    assert {dim for vector in masks for dim in vector.broadcast_dims} == {0, 1, 2}
    splits = [split_of(vector) for vector in masks]
    assert {len(outer) for outer, _, _ in splits} == {0, 1, 2}
    assert {len(rows) for _, rows, _ in splits} == {0, 1, 2, 3}


@pytest.mark.parametrize("in_rows", [True, False], ids=["in the rows", "outer"])
def test_offsets_cover_axis_0(in_rows):
    vectors = [v for v in GOLDEN.masks if v.within is None and v.offset]
    offsets = [v.offset for v in vectors if bool(split_of(v)[0]) != in_rows]
    assert any(offset % 32 for offset in offsets)
    assert any(offset % 32 == 0 for offset in offsets)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("merged rows, last offset", {"offset": 2**33 // 12 - 4}),
        ("image, last offset", {"offset": 2**28 - 1}),
        ("last window", {"within": (2**29, 2**21, 2**16), "offset": (2**28, 0, 0)}),
        ("last window", {"within": (2**28, 2**21, 2**16 + 1)}),
    ],
)
def test_the_last_places_are_the_last(name, more):
    beyond = dataclasses.replace(MASKS[name], **more)
    with pytest.raises(ValueError, match="the stream numbers 268435456 words"):
        beyond.draw(beyond.make_key())


def test_an_offset_does_not_come_round():
    vector = MASKS["image, offset 65536"]
    first = dataclasses.replace(vector, offset=0).draw(vector.make_key())
    assert sha256(np.asarray(first)) != vector.sha256


@pytest.mark.parametrize(
    "vector", [v for v in GOLDEN.masks if "large" not in v.name], ids=by_name
)
def test_pack_undoes_the_mask(vector):
    for words in vector.pack(oracle.mask(*arguments(vector))):
        assert sha256(words) == vector.sha256


def test_pack_sees_an_element_that_is_not_as_the_others_of_its_shared_bit():
    vector = MASKS["shared pixels"]
    kept = oracle.mask(*arguments(vector)).copy()
    kept[3, 2, 1, 5] ^= True
    assert {sha256(words) for words in vector.pack(kept)} != {vector.sha256}
