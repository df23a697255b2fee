"""The section "By hand" of docs/stream.md: two masks and a key, step by step.

What comes of the cipher is computed; the rates, shapes and offsets, and what follows
from them alone, are part of the text. `tests/core/test_page.py` checks both.
"""

import hashlib
import textwrap
from collections.abc import Iterable

import jax.numpy as jnp

from jdrop import _stream
from jdrop._stream import KEY_DOMAIN, PAIRS, WORDS_DOMAIN

Block = tuple[int, int]


def section() -> str:
    """The Markdown below the heading."""
    paragraphs = [*_whole_mask(), *_part_of_a_mask(), *_key_by_name()]
    return "\n\n".join(map(_wrapped, paragraphs)) + "\n"


def _whole_mask() -> list[str]:
    seed, steps = _absorb(WORDS_DOMAIN, [(0, 42)])
    blocks = [(PAIRS * i, j) for i in range(2) for j in range(2)]
    digits = [_encrypt(seed, block) for block in blocks]
    rows = [
        (block[0] // PAIRS, block[1], _pair(block), *map(_word, (*u, u[0])))
        for block, u in zip(blocks, digits, strict=True)
    ]
    byte = digits[0][0] % 2**8
    first = [_fate(byte >> bit) for bit in range(8)]
    row_35 = [_fate(u[0] >> 3) for u in digits[2:]]
    both = f"both {row_35[0]}" if len(set(row_35)) == 1 else _listed(row_35)
    return [
        "### Rate 0.5, shape (40, 2), `jax.random.key(42)`",
        "The key is `00000000 0000002a`, k = 2.",
        *steps,
        "40 rows need two word rows; i is the word row and j the column. T = 80000000: "
        "one digit, one pair, `t[0] = 1`, `t[1] = 0`. The fold ends in "
        "`ffffffff | u[1]`, then `& u[0]`: the word is `u[0]`.",
        _table(["i", "j", "block", "u[0]", "u[1]", "kept"], rows),
        f"The lowest byte of the first word is {byte:02x} = {byte:08b} in binary, so "
        f"the first eight elements of column 0 are {', '.join(first)}. The elements of "
        f"row 35 are the bits 3 of the words of i = 1, {both}.",
    ]


def _part_of_a_mask() -> list[str]:
    seed, steps = _absorb(WORDS_DOMAIN, [(0, 7), (0, 7)])
    rows, words = [], []
    for i in range(2):
        kept = 0xFFFFFFFF
        for d in reversed(range(8)):
            block = (PAIRS * i + d, 0)
            high, low = _encrypt(seed, block)
            cells: list[object] = [i, d, _pair(block), _word(high), _word(low)]
            for digit, u in ((2 * d + 1, low), (2 * d, high)):
                t = 0x199A0000 >> (31 - digit) & 1
                kept = kept & u if t else kept | u
                cells += [t, _word(kept)]
            rows.append(cells)
        words.append(kept)
    first, second = words
    low, high, last = first >> 27, second << 5 & 0xFFFFFFFF, second >> 27
    own = low | high | (last % 2**4) << 32
    dropped = [row for row in range(36) if not own >> row & 1]
    places = [f"({row // 3}, {row % 3}, 0)" for row in dropped]
    zeros = [str(row) for row in dropped if row < 32]
    return [
        '### Rate 0.1, shape (12, 3, 1), offset 9, `jax.random.key(7, impl="rbg")`',
        "The key is `00000000 00000007 00000000 00000007`, k = 4.",
        *steps,
        "Axis 1 has 3 elements, too few for a word, so axis 0 is a row axis too: the "
        "part is rows 9 * 3 = 27 to 62 of the whole, and touches its word rows 0 and "
        "1. 0.1 * 65536 = 6553.6, rounded to 6554, so p = 0.100006103515625 and T = "
        "199a0000 = 0001100110011010 and sixteen zeros: D = 15, eight pairs.",
        _table(
            ["i", "d", "block", "u[2 d]", "u[2 d + 1]", "t[2 d + 1]", "kept after it"]
            + ["t[2 d]", "kept after it"],
            rows,
        ),
        f"The words of the whole are `{_word(first)}` and `{_word(second)}`. Row 0 of "
        "the part is bit 27 of the first one, so its own words are",
        f"    {_word(first)} >> 27 | {_word(second)} << 5 = "
        f"{_word(low)} | {_word(high)} = {_word(low | high)}\n"
        f"    {_word(second)} >> 27                 = {_word(last)}",
        "and of the second one only the lowest 4 bits count, its rows 32 to 35. The "
        f"bits {_listed(zeros)} of the first are 0: of the 36 elements those at "
        f"{_listed(places)} are dropped.",
    ]


def _key_by_name() -> list[str]:
    digest = hashlib.sha256(b"dropout").digest()[:8]
    name = (int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big"))
    seed, [steps] = _absorb(KEY_DOMAIN, [(0, 42)], [name, (3, 0x696E7400)])
    derived = _encrypt(seed, (0, 2))
    return [
        '### `key_for(jax.random.key(42), "dropout", 3)`',
        f"The SHA-256 hash of `dropout` begins with the bytes {digest.hex(' ')}.",
        f"{steps}\n    w = {_encryption(seed, (0, 2), derived)}",
        f"The new key is the key of the words `{_word(derived[0])} "
        f"{_word(derived[1])}`.",
    ]


def _absorb(
    domain: Block, key: list[Block], path: Iterable[Block] = ()
) -> tuple[Block, list[str]]:
    """The seed of a key, and the lines that show how it is made, as one paragraph."""
    seed, lines = (domain[0], domain[1] + 2 * len(key)), []
    for block in (*key, *path):
        result = _encrypt(seed, block)
        lines.append(f"    S = {_encryption(seed, block, result)}")
        seed = result
    return seed, ["\n".join(lines)]


def _encrypt(key: Block, block: Block) -> Block:
    x0, x1 = _stream.threefry2x32(*(jnp.uint32(word) for word in (*key, *block)))
    return int(x0), int(x1)


def _encryption(key: Block, block: Block, result: Block) -> str:
    return "E[{}, {}]({}, {}) = {} ‖ {}".format(*map(_word, (*key, *block, *result)))


def _fate(word: int) -> str:
    return "kept" if word & 1 else "dropped"


def _listed(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _pair(block: Block) -> str:
    return f"{_word(block[0])} ‖ {_word(block[1])}"


def _word(word: int) -> str:
    return f"{word:08x}"


def _table(head: list[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _wrapped(paragraph: str) -> str:
    """Prose in lines of the page; headings, tables and code as they are."""
    if paragraph.startswith(("#", "|", "    ")):
        return paragraph
    return textwrap.fill(paragraph, 89, break_on_hyphens=False)
