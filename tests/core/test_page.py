"""The worked examples and tables of docs/stream.md, cell by cell.

Each is recomputed with the oracle and drawn with the library, so that neither the page
nor the code can move alone.
"""

import functools
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
        written = re.search(r"The key is `([0-9a-f ]+)`, n = (\d)", text)
        self.key_words = [hexadecimal(word) for word in written[1].split()]
        assert len(self.key_words) == int(written[2])
        self.seed = oracle.seeds(self.key_words)[-1]
        self.p, self.t = oracle.threshold(self.rate)

    def words(self):
        """The library's words, which are the oracle's."""
        mask = jdrop.sample_mask(self.key, self.shape, self.rate, offset=self.offset)
        arguments = (self.key_words, self.shape, self.rate)
        expected = oracle.words(*arguments, offset=self.offset)
        np.testing.assert_array_equal(mask.words, expected)
        return expected

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
    assert len(rows) == 7
    for shape, lead, columns, words in rows:
        got_lead, got_columns = oracle.rows_and_columns(integers(shape))
        assert (tuple(got_lead), got_columns) == (integers(lead), int(columns))
        sample = functools.partial(jdrop.sample_mask, shape=integers(shape), rate=0.5)
        mask = jax.eval_shape(sample, jax.random.key(0))
        assert mask.words.shape == integers(words)


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
    for binary, n in re.findall(r"= ([01]{16}) and [\w\s:]+n = (\d+)", example.text):
        assert int(binary, 2) == example.p * 2**16
        assert int(n) == binary.rindex("1") + 1


def test_first_example_word_by_word():
    words = BY_WORD.words()
    rows = table(BY_WORD.text)
    assert len(rows) == words.size
    assert BY_WORD.t == [1, 0]
    for cells in rows:
        row, word = integers(cells[0])[0], integers(cells[1])[0]
        assert cells[2] == f"{row:08x} ‖ {16 * word:08x}"
        assert [hexadecimal(cell) for cell in cells[3:5]] == [*BY_WORD.block(cells[2])]
        assert hexadecimal(cells[5]) == hexadecimal(cells[3]) == words[row, word]
    byte, bits = re.search(r"is (\w\w) = ([01]{8}) in\s+binary", BY_WORD.text).groups()
    assert hexadecimal(byte) == int(bits, 2) == words[0, 0] % 256
    spelled = re.search(r"of row 0 are\s+([a-z,\s]+)\.", BY_WORD.text)[1]
    elements = [element == "kept" for element in re.split(r",\s+", spelled)]
    assert elements == [bit == "1" for bit in reversed(bits)]
    mask = jdrop.sample_mask(BY_WORD.key, BY_WORD.shape, BY_WORD.rate).to_bool()
    assert mask[0, :8].tolist() == elements


def test_second_example_pair_by_pair():
    rows = table(BY_PAIR.text)
    pairs = len(BY_PAIR.t) // 2
    assert [int(cells[0]) for cells in rows] == list(range(pairs))[::-1]
    kept = 0xFFFFFFFF
    for cells in rows:
        d = int(cells[0])
        assert cells[1] == f"{BY_PAIR.offset:08x} ‖ {d:08x}"
        high, low = (hexadecimal(cell) for cell in cells[2:4])
        assert [high, low] == [*BY_PAIR.block(cells[1])]
        for digit, u, t, after in ((1, low, *cells[4:6]), (0, high, *cells[6:8])):
            assert int(t) == BY_PAIR.t[2 * d + digit]
            kept = kept & u if t == "1" else kept | u
            assert hexadecimal(after) == kept
    assert re.search(rf"The word is `{WORD}`", BY_PAIR.text)[1] == f"{kept:08x}"
    assert BY_PAIR.words()[0, 0] == kept
    mask = jdrop.sample_mask(
        BY_PAIR.key, BY_PAIR.shape, BY_PAIR.rate, offset=BY_PAIR.offset
    )
    [place] = re.findall(r"at position \((\d, \d)\)", BY_PAIR.text)
    dropped = np.argwhere(~np.asarray(mask.to_bool())[0])
    assert dropped.tolist() == [list(integers(place))]
