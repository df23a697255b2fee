"""The golden vectors: right by the oracle, of the stream's name, hard to change."""

import dataclasses
import json

import numpy as np
import oracle
import pytest
from cases import KEY_IMPLEMENTATIONS

import jdrop
from benchmarks import regenerate_golden as generator
from jdrop import _golden, _stream, _ways

GOLDEN = _golden.load_golden()
VECTORS = (*GOLDEN.masks, *GOLDEN.keys)


def by_name(vector):
    return vector.name


def expected_words(vector):
    """What docs/stream.md says, of which the library knows nothing."""
    if isinstance(vector, _golden.KeyVector):
        return oracle.key_for(vector.key, *vector.path)
    dims, offset = vector.broadcast_dims, vector.offset
    return oracle.words(vector.key, vector.shape, vector.rate, dims, offset)


def test_vectors_are_of_the_stream():
    assert GOLDEN.stream == _stream.STREAM, "python -m benchmarks.regenerate_golden"


@pytest.mark.parametrize("vector", VECTORS, ids=by_name)
def test_vector_is_what_the_page_says(vector):
    words = expected_words(vector)
    assert _golden.sha256(words) == vector.sha256
    assert vector.words == tuple(words.ravel()[: len(vector.words)])


def test_names_are_unique():
    assert len(set(map(by_name, GOLDEN.masks))) == len(GOLDEN.masks)
    assert len(set(map(by_name, GOLDEN.keys))) == len(GOLDEN.keys)


def test_vectors_cover_the_contract():
    masks = GOLDEN.masks
    every = {*KEY_IMPLEMENTATIONS, _golden.LEGACY}
    assert {vector.impl for vector in masks} == every
    assert {vector.impl for vector in GOLDEN.keys} == every
    rates = {0, 1, 0.5, 0.25, 0.1, 1 / 3, 0.9, 1e-4, 1 - 1e-4, 1e-7}
    assert {vector.rate for vector in masks} == rates
    assert {len(vector.shape) for vector in masks} == {0, 1, 2, 3, 4}
    assert {dim for vector in masks for dim in vector.broadcast_dims} == {0, 1, 2}
    merged = [v for v in masks if len(v.shape) > 2 and v.shape[-1] < _stream.LANES]
    assert {len(_stream.row_layout(vector.shape)[0]) for vector in merged} == {1, 2}
    assert any(v.offset + v.shape[0] > 2**32 for v in masks if v.shape)


def test_extreme_rates_drop_some_and_keep_some():
    for vector in GOLDEN.masks:
        if 0 < vector.rate < 1 and "large" in vector.name:
            words = expected_words(vector)
            assert 0 < np.bitwise_count(words).sum() < np.prod(vector.shape)


def test_words_are_in_full_where_few_or_where_bits_are_surplus():
    for vector in GOLDEN.masks:
        shape = oracle.shared_shape(vector.shape, vector.broadcast_dims)
        size = np.prod(_stream.words_shape(tuple(shape)))
        full = size <= generator.FULL
        assert len(vector.words) == (size if full else generator.FEW)
        assert full or _stream.row_layout(tuple(shape))[1] % _stream.LANES == 0


def test_checks_name_vectors_that_are_there():
    masks, keys = set(map(by_name, GOLDEN.masks)), set(map(by_name, GOLDEN.keys))
    assert {*_ways.FEW, *_ways.ON_A_DEVICE, *_ways.ON_A_MESH} <= masks
    assert {*_ways.NUMBERED} <= keys


@pytest.mark.parametrize(
    "vector", [v for v in GOLDEN.masks if "large" not in v.name], ids=by_name
)
def test_pack_undoes_the_mask(vector):
    dims, offset = vector.broadcast_dims, vector.offset
    kept = oracle.mask(vector.key, vector.shape, vector.rate, dims, offset)
    for words in vector.pack(kept):
        assert _golden.sha256(words) == vector.sha256


def test_pack_sees_an_element_that_is_not_as_the_others_of_its_shared_bit():
    [vector] = [v for v in GOLDEN.masks if v.name == "shared pixels"]
    dims, offset = vector.broadcast_dims, vector.offset
    kept = oracle.mask(vector.key, vector.shape, vector.rate, dims, offset).copy()
    kept[3, 2, 1, 5] ^= True
    assert {_golden.sha256(words) for words in vector.pack(kept)} != {vector.sha256}


@pytest.fixture(scope="module")
def drawn():
    """The vectors as the library draws them, which takes a few seconds."""
    return generator.draw()


@pytest.fixture
def regenerate(drawn, monkeypatch, tmp_path, capsys):
    """Runs the command on a copy of the file, with the vectors that it would draw."""
    path = tmp_path / "golden.json"
    path.write_text(generator.GOLDEN.read_text("utf-8"), "utf-8")

    def run(golden=drawn, *options):
        monkeypatch.setattr(generator, "draw", lambda: golden)
        status = generator.main(["--path", str(path), *options])
        return (
            status,
            _golden.parse_golden(path.read_text("utf-8")),
            capsys.readouterr(),
        )

    return run


def with_a_wrong_word(golden):
    first, *others = golden.masks
    changed = dataclasses.replace(first, words=(first.words[0] ^ 1, *first.words[1:]))
    return dataclasses.replace(golden, masks=(changed, *others))


def test_command_writes_the_file_that_is_shipped(drawn):
    assert generator.to_json(drawn) == generator.GOLDEN.read_text("utf-8")
    assert json.loads(generator.to_json(drawn))["stream"] == jdrop.STREAM


def test_command_refuses_to_change_a_stream_that_keeps_its_name(drawn, regenerate):
    status, on_file, printed = regenerate(with_a_wrong_word(drawn))
    assert status == 1
    assert on_file == GOLDEN
    assert printed.err == (
        f"Vectors of the stream {jdrop.STREAM} would change: rate 0. A name stands "
        "for one stream: give the new one another name (STREAM in jdrop/_stream.py), "
        "or pass --force.\n"
    )


def test_command_refuses_to_drop_a_vector(drawn, regenerate):
    status, on_file, printed = regenerate(dataclasses.replace(drawn, keys=()))
    assert status == 1
    assert on_file == GOLDEN
    assert all(vector.name in printed.err for vector in GOLDEN.keys)


def test_command_changes_a_stream_when_forced(drawn, regenerate):
    wrong = with_a_wrong_word(drawn)
    status, on_file, printed = regenerate(wrong, "--force")
    assert status == 0
    assert on_file == wrong
    assert f"{len(VECTORS)} vectors of {jdrop.STREAM}, 1 changed" in printed.out


def test_command_writes_a_stream_of_another_name(drawn, regenerate):
    new = dataclasses.replace(with_a_wrong_word(drawn), stream="jdrop-2")
    status, on_file, _ = regenerate(new)
    assert status == 0
    assert on_file == new


def test_command_adds_vectors(drawn, regenerate):
    more = dataclasses.replace(drawn.masks[0], name="another")
    status, on_file, _ = regenerate(
        dataclasses.replace(drawn, masks=(*drawn.masks, more))
    )
    assert status == 0
    assert on_file.masks[-1] == more
