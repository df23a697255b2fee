"""`python -m benchmarks.regenerate_golden`: golden vectors are hard to change."""

import dataclasses

import pytest

import jdrop
from benchmarks import regenerate_golden as generator
from jdrop.selfcheck.vectors import load_golden, parse_golden

GOLDEN = load_golden()
SHIPPED = generator.GOLDEN.read_text("utf-8")


@pytest.fixture
def regenerate(monkeypatch, tmp_path, capsys):
    """Runs the command on a copy of the file, as if these vectors were drawn."""
    path = tmp_path / "golden.json"
    path.write_text(SHIPPED, "utf-8")

    def run(golden, *options):
        monkeypatch.setattr(generator, "draw", lambda: golden)
        status = generator.main(["--path", str(path), *options])
        return status, path.read_text("utf-8"), capsys.readouterr()

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


def test_command_draws_and_writes_what_is_shipped(monkeypatch, tmp_path):
    path = tmp_path / "golden.json"
    masks, keys = [*generator.mask_vectors()][:2], [*generator.key_vectors()][:1]
    monkeypatch.setattr(generator, "mask_vectors", lambda: masks)
    monkeypatch.setattr(generator, "key_vectors", lambda: keys)
    assert generator.main(["--path", str(path)]) == 0
    drawn = parse_golden(path.read_text("utf-8"))
    assert drawn.stream == jdrop.STREAM
    assert drawn.masks == GOLDEN.masks[:2]
    assert drawn.keys == GOLDEN.keys[:1]
    assert generator.to_json(GOLDEN) == SHIPPED


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
