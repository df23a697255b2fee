"""The golden vectors: right by the oracle, of the stream's name, of every kind."""

import numpy as np
import oracle
import pytest
from cases import KEY_IMPLEMENTATIONS

import jdrop
from jdrop._stream import LANES, row_layout, words_shape
from jdrop.selfcheck.vectors import LEGACY, KeyVector, load_golden, sha256

GOLDEN = load_golden()
MASKS = {vector.name: vector for vector in GOLDEN.masks}
VECTORS = (*GOLDEN.masks, *GOLDEN.keys)


def by_name(vector):
    return vector.name


def arguments(vector):
    dims, offset = vector.broadcast_dims, vector.offset
    return vector.key, vector.shape, vector.rate, dims, offset


def words_shape_of(vector):
    return words_shape(tuple(oracle.shared_shape(vector.shape, vector.broadcast_dims)))


def test_vectors_are_of_the_stream():
    assert GOLDEN.stream == jdrop.STREAM, "python -m benchmarks.regenerate_golden"


@pytest.mark.parametrize("vector", VECTORS, ids=by_name)
def test_vector_is_what_the_page_says(vector):
    if isinstance(vector, KeyVector):
        words = oracle.key_for(vector.key, *vector.path)
    else:
        words = oracle.words(*arguments(vector))
        if 0 < vector.rate < 1 and "large" in vector.name:
            assert 0 < np.bitwise_count(words).sum() < np.prod(vector.shape)
    assert sha256(words) == vector.sha256
    assert vector.words == tuple(words.ravel()[: len(vector.words)])


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
    merged = [v for v in masks if len(v.shape) > 2 and v.shape[-1] < LANES]
    assert {len(row_layout(vector.shape)[0]) for vector in merged} == {1, 2}
    assert any(v.offset + v.shape[0] > 2**32 for v in masks if v.shape)


@pytest.mark.parametrize("vector", GOLDEN.masks, ids=by_name)
def test_words_are_in_full_where_few_or_where_bits_are_surplus(vector):
    size = np.prod(words_shape_of(vector))
    assert len(vector.words) == (size if size <= 64 else 8)
    assert size <= 64 or vector.shape[-1] % LANES == 0


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
