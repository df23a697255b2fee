"""The worked examples and tables of docs/stream.md, cell by cell.

Each is recomputed with the oracle and drawn with the library, so that neither the page
nor the code can move alone.
"""

import functools
import hashlib
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import jdrop
from jdrop import _stream

PAGE = (Path(__file__).parents[2] / "docs" / "stream.md").read_text("utf-8")
WORD = "([0-9a-f]{8})"
ENCRYPTION = re.compile(rf"E\[{WORD}, {WORD}\]\({WORD}, {WORD}\) = {WORD} ‖ {WORD}")
EXAMPLE = re.compile(
    r"### Rate (?P<rate>[\d.]+), shape \((?P<shape>[\d, ]+)\)"
    r"(?:, offset (?P<offset>\d+))?, "
    r"`jax\.random\.key\((?P<seed>\d+)(?:, impl=\"(?P<impl>\w+)\")?\)`\n"
    r"(?P<text>.*?)(?=\n##|\Z)",
    re.DOTALL,
)
EXAMPLES = [match.groupdict() for match in EXAMPLE.finditer(PAGE)]


def integers(text):
    return tuple(int(n) for n in re.findall(r"\d+", text))


def hexadecimal(text):
    return int(text, 16)


def encryptions(text):
    """Every block that the text encrypts: (key, block, result), of two words each."""
    rows = [tuple(map(hexadecimal, match)) for match in ENCRYPTION.findall(text)]
    return [(words[:2], words[2:4], words[4:]) for words in rows]


def table(text):
    """The rows of the one table in the text, each a list of its cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return cells[2:]


class Example:
    """One example: its inputs as the heading and the text say, and what is drawn."""

    def __init__(self, rate, shape, offset, seed, impl, text):
        self.text = text
        self.rate, self.shape = float(rate), integers(shape)
        self.offset = int(offset or 0)
        self.key = jax.random.key(int(seed), impl=impl)
        written = re.search(r"The key is `([0-9a-f ]+)`, k = (\d)", text)
        self.key_words = [hexadecimal(word) for word in written[1].split()]
        assert len(self.key_words) == int(written[2])
        self.seed = oracle.seeds(self.key_words)[-1]
        self.p, self.t = oracle.threshold(self.rate)

        arguments = (self.key_words, self.shape, self.rate)
        self.words = oracle.words(*arguments, offset=self.offset)
        self.kept = oracle.mask(*arguments, offset=self.offset)

    @property
    def mask(self):
        """What the library draws."""
        return jdrop.sample_mask(self.key, self.shape, self.rate, offset=self.offset)

    def block(self, cell):
        """The digits that a block written in a table encrypts to."""
        return oracle.encrypt(self.seed, *map(hexadecimal, cell.split(" ‖ ")))


BY_WORD, BY_PAIR = (Example(**groups) for groups in EXAMPLES)


def test_name():
    assert f"Name of this version: **`{jdrop.STREAM}`**" in PAGE


@pytest.mark.parametrize(("key", "block", "result"), encryptions(PAGE))
def test_every_encryption(key, block, result):
    assert tuple(oracle.encrypt(key, *block)) == result
    got = _stream.threefry2x32(*(jnp.uint32(word) for word in (*key, *block)))
    assert tuple(int(word) for word in got) == result


def test_layouts():
    rows = table(PAGE.split("\n## 3")[1].split("\n## 4")[0])
    assert len(rows) == 8
    for cells in rows:
        shape, *split, words = map(integers, cells)
        outer, row_axes, columns = oracle.split(shape)
        assert split == [tuple(outer), tuple(row_axes) or (1,), (columns,)]
        sample = functools.partial(jdrop.sample_mask, shape=shape, rate=0.5)
        assert jax.eval_shape(sample, jax.random.key(0)).words.shape == words
        assert oracle.words_shape(shape) == [*words]


@pytest.mark.parametrize("example", [BY_WORD, BY_PAIR], ids=["first", "second"])
def test_key_and_seed(example):
    assert jax.random.key_data(example.key).tolist() == example.key_words
    chain = oracle.seeds(example.key_words)
    steps = encryptions(example.text)
    assert [key for key, _, _ in steps] == chain[:-1]
    assert [result for _, _, result in steps] == chain[1:]
    padded = [*example.key_words, 0][: 2 * len(steps)]
    assert [word for _, block, _ in steps for word in block] == padded


@pytest.mark.parametrize("example", [BY_WORD, BY_PAIR], ids=["first", "second"])
def test_threshold(example):
    [written] = re.findall(rf"T = {WORD}", example.text)
    assert hexadecimal(written) == example.p * 2**32
    for decimal in re.findall(r"p = (0\.\d+)", example.text):
        assert float(decimal) == example.p
    for sixteenth in re.findall(r"rounded to (\d+)", example.text):
        assert int(sixteenth) == example.p * 2**16
    for digit, value in re.findall(r"`t\[(\d)\] = ([01])`", example.text):
        assert example.t[int(digit)] == int(value)
    for binary, last in re.findall(r"= ([01]{16}) and [\w\s:]+D = (\d+)", example.text):
        assert int(binary, 2) == example.p * 2**16
        assert int(last) == binary.rindex("1") + 1


def test_first_example_word_by_word():
    words = BY_WORD.words
    np.testing.assert_array_equal(BY_WORD.mask.words, words)
    rows = table(BY_WORD.text)
    assert len(rows) == words.size
    assert BY_WORD.t == [1, 0]
    for cells in rows:
        i, j = int(cells[0]), int(cells[1])
        assert cells[2] == f"{16 * i:08x} ‖ {j:08x}"
        assert [hexadecimal(cell) for cell in cells[3:5]] == [*BY_WORD.block(cells[2])]
        assert hexadecimal(cells[5]) == hexadecimal(cells[3]) == words[i, j]
    byte, bits = re.search(r"is (\w\w) = ([01]{8}) in\s+binary", BY_WORD.text).groups()
    assert hexadecimal(byte) == int(bits, 2) == words[0, 0] % 256
    spelled = re.search(r"of column 0 are\s+([a-z,\s]+)\.", BY_WORD.text)[1]
    elements = [element == "kept" for element in re.split(r",\s+", spelled)]
    assert elements == [bit == "1" for bit in reversed(bits)]
    assert BY_WORD.kept[:8, 0].tolist() == elements
    np.testing.assert_array_equal(BY_WORD.mask.to_bool(), BY_WORD.kept)
    found = re.search(
        r"row (\d+) are the bits (\d) .* i = (\d), both kept", BY_WORD.text
    )
    row, bit, i = map(int, found.groups())
    assert divmod(row, 32) == (i, bit)
    assert BY_WORD.kept[row].all()


def test_second_example_pair_by_pair():
    """The words of the whole that the part touches."""
    rows, pairs = table(BY_PAIR.text), len(BY_PAIR.t) // 2
    order = [(i, d) for i in (0, 1) for d in reversed(range(pairs))]
    assert [(int(i), int(d)) for i, d, *_ in rows] == order
    kept = [0xFFFFFFFF, 0xFFFFFFFF]
    for (i, d), cells in zip(order, rows, strict=True):
        assert cells[2] == f"{16 * i + d:08x} ‖ 00000000"
        high, low = (hexadecimal(cell) for cell in cells[3:5])
        assert [high, low] == [*BY_PAIR.block(cells[2])]
        for digit, u, t, after in ((1, low, *cells[5:7]), (0, high, *cells[7:9])):
            assert int(t) == BY_PAIR.t[2 * d + digit]
            kept[i] = kept[i] & u if t == "1" else kept[i] | u
            assert hexadecimal(after) == kept[i]
    written = re.search(rf"whole are `{WORD}` and `{WORD}`", BY_PAIR.text).groups()
    assert [hexadecimal(word) for word in written] == kept


def test_second_example_is_cut_out_between_words():
    text, (count, inner, _) = " ".join(BY_PAIR.text.split()), BY_PAIR.shape
    row = BY_PAIR.offset * inner
    rows = f"rows {BY_PAIR.offset} * {inner} = {row} to {row + count * inner - 1} of"
    assert rows in text
    whole = re.search(rf"whole are `{WORD}` and `{WORD}`", text).groups()
    low, high = map(hexadecimal, whole)
    down, up, above = low >> 27, high << 5 & 0xFFFFFFFF, high >> 27
    assert row % 32 == 27
    assert f"{low:08x} >> 27 | {high:08x} << 5 = {down:08x} | {up:08x} = " in text
    assert f" = {down | up:08x} {high:08x} >> 27 = {above:08x} and of" in text
    assert "lowest 4 bits count, its rows 32 to 35." in text
    assert divmod(count * inner, 32) == (1, 4)
    for words in (BY_PAIR.words, np.asarray(BY_PAIR.mask.words)):
        assert (words[0, 0], words[1, 0] & 0xF) == (down | up, above & 0xF)
    bits, places = re.search(
        r"The bits (.*) of the first .* those at (.*) are", text
    ).groups()
    dropped = np.argwhere(~BY_PAIR.kept)
    written = [integers(place) for place in re.findall(r"\(.*?\)", places)]
    assert dropped.tolist() == [list(place) for place in written]
    assert integers(bits) == tuple(inner * i + j for i, j, _ in written)


def test_key_by_name():
    text = PAGE.split('### `key_for(jax.random.key(42), "dropout", 3)`')[1]
    text = text.split("\n## ")[0]
    steps = encryptions(text)
    assert steps[0][0] == (0x6A64726F, 0x6B000002)
    for (_, _, seed), (key, _, _) in itertools.pairwise(steps):
        assert key == seed
    digest = bytes.fromhex(re.search(r"bytes ([0-9a-f ]+)\.", text)[1])
    assert digest == hashlib.sha256(b"dropout").digest()[:8]
    hashed = tuple(np.frombuffer(digest, ">u4").tolist())
    assert [block for _, block, _ in steps[:3]] == [(0, 42), hashed, (3, 0x696E7400)]
    assert steps[3][1] == (0, 2)
    written = re.search(rf"the words `{WORD} {WORD}`", text).groups()
    words = [hexadecimal(word) for word in written]
    assert words == [*steps[3][2]] == oracle.key_for([0, 42], "dropout", 3).tolist()
    derived = jdrop.key_for(jax.random.key(42), "dropout", 3)
    assert jax.random.key_data(derived).tolist() == words
