"""`python -m benchmarks.regenerate_golden`: golden vectors are hard to change."""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest

import jdrop
from benchmarks import by_hand
from benchmarks import regenerate_golden as generator
from benchmarks.records import ROOT
from jdrop import _stream
from jdrop.selfcheck.vectors import load_golden, parse_golden

GOLDEN = load_golden()
FILES = (generator.GOLDEN, generator.PAGE, generator.CHANGELOG)
SHIPPED = (ROOT / generator.GOLDEN).read_text("utf-8")


@pytest.fixture
def tree(tmp_path):
    """Copies of the files that the command writes."""
    for path in FILES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


@pytest.fixture
def regenerate(monkeypatch, tree, capsys):
    """Runs the command on copies of the files, as if these vectors were drawn."""

    def run(golden, *options):
        monkeypatch.setattr(generator, "draw", lambda: golden)
        status = generator.main(["--root", str(tree), *options])
        on_file = (tree / generator.GOLDEN).read_text("utf-8")
        return status, on_file, capsys.readouterr()

    return run


def with_a_wrong_word(golden):
    first, *others = golden.masks
    changed = dataclasses.replace(first, words=(first.words[0] ^ 1, *first.words[1:]))
    return dataclasses.replace(golden, masks=(changed, *others))


def test_tables_are_of_the_file_that_is_shipped():
    for rows, part in [
        (generator.mask_vectors(), GOLDEN.masks),
        (generator.key_vectors(), GOLDEN.keys),
    ]:
        for row, vector in zip(rows, part, strict=True):
            fields = {field: getattr(vector, field) for field in row}
            assert fields == row


def test_command_draws_and_writes_what_is_shipped(monkeypatch, tree):
    path = tree / generator.GOLDEN
    path.unlink()
    masks, keys = [*generator.mask_vectors()][:2], [*generator.key_vectors()][:1]
    monkeypatch.setattr(generator, "mask_vectors", lambda: masks)
    monkeypatch.setattr(generator, "key_vectors", lambda: keys)
    assert generator.main(["--root", str(tree)]) == 0
    drawn = parse_golden(path.read_text("utf-8"))
    assert drawn.stream == jdrop.STREAM
    assert drawn.masks == GOLDEN.masks[:2]
    assert drawn.keys == GOLDEN.keys[:1]
    assert generator.to_json(GOLDEN) == SHIPPED
    for page in (generator.PAGE, generator.CHANGELOG):
        assert (tree / page).read_text("utf-8") == (ROOT / page).read_text("utf-8")


def test_command_renames_the_stream_and_draws_its_examples(
    regenerate, tree, monkeypatch, fresh_programs
):
    monkeypatch.setattr(jdrop, "STREAM", "jdrop-9")
    monkeypatch.setattr(_stream, "WORDS_DOMAIN", (1, 2))
    monkeypatch.setattr(by_hand, "WORDS_DOMAIN", (1, 2))
    status, _, _ = regenerate(dataclasses.replace(GOLDEN, stream="jdrop-9"))
    assert status == 0
    page = (tree / generator.PAGE).read_text("utf-8")
    assert "Name of this version: **`jdrop-9`** (`jdrop.STREAM`)." in page
    assert "stream jdrop-9)" in (tree / generator.CHANGELOG).read_text("utf-8")
    before = (ROOT / generator.PAGE).read_text("utf-8")
    by_section = zip(page.split("\n## "), before.split("\n## "), strict=True)
    titles = [new.splitlines()[0] for new, old in by_section if new != old]
    assert titles == ["# The bit stream", "8. By hand"]
    mask = jdrop.sample_mask(jax.random.key(42), (40, 2), 0.5)
    for word in np.asarray(mask.words).ravel():
        assert f" {word:08x} |\n" in page
    part = jdrop.sample_mask(jax.random.key(7, impl="rbg"), (12, 3, 1), 0.1, offset=9)
    dropped = np.argwhere(~np.asarray(part.to_bool())).tolist()
    listed = re.search(r"elements\s+those\s+at\s(.*)\sare\s+dropped", page, re.DOTALL)
    places = re.findall(r"\((\d+),\s(\d),\s0\)", listed[1])
    assert [[int(i), int(j), 0] for i, j in places] == dropped


def test_a_page_without_a_name_is_an_error(tree):
    (tree / generator.CHANGELOG).write_text("# Changelog\n", "utf-8")
    with pytest.raises(ValueError, match="a page names the stream once .* got 0"):
        generator.rewrite_pages(tree)


def test_command_refuses_to_change_a_stream_that_keeps_its_name(regenerate):
    status, on_file, printed = regenerate(with_a_wrong_word(GOLDEN))
    assert (status, on_file) == (1, SHIPPED)
    assert printed.err == (
        f"Vectors of the stream {jdrop.STREAM} would change: rate 0. A name stands "
        "for one stream: give the new one another name (STREAM in jdrop/_stream.py), "
        "or pass --force.\n"
    )


def test_command_refuses_to_drop_a_vector(regenerate):
    status, on_file, printed = regenerate(dataclasses.replace(GOLDEN, keys=()))
    assert (status, on_file) == (1, SHIPPED)
    assert all(vector.name in printed.err for vector in GOLDEN.keys)


def test_command_changes_a_stream_when_forced(regenerate):
    wrong = with_a_wrong_word(GOLDEN)
    status, on_file, printed = regenerate(wrong, "--force")
    assert (status, parse_golden(on_file)) == (0, wrong)
    assert f"52 vectors of {jdrop.STREAM}, 1 changed" in printed.out


def test_command_writes_a_stream_of_another_name(regenerate):
    new = dataclasses.replace(with_a_wrong_word(GOLDEN), stream="another")
    status, on_file, _ = regenerate(new)
    assert (status, parse_golden(on_file)) == (0, new)


def test_command_adds_vectors(regenerate):
    more = dataclasses.replace(GOLDEN.masks[0], name="another")
    added = dataclasses.replace(GOLDEN, masks=(*GOLDEN.masks, more))
    status, on_file, _ = regenerate(added)
    assert (status, parse_golden(on_file)) == (0, added)
