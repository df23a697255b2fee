"""Results: what is written comes back, and tables find their places on pages."""

import pandas as pd
import pytest

from benchmarks.records import fill, provenance, read, read_sources, runs, save, table

ROWS = pd.DataFrame(
    {
        "section": ["ops", "ops", "memory"],
        "keys": ["", "nan", "1e367825"],
        "value": [1.235, 1e-5, 17179869957.0],
        "low": [1.0, float("nan"), float("nan")],
    }
).astype({"section": object, "keys": object})
SOURCE = {"date": "2025-01-01", "libraries": {"b": 1, "a": 2}}


def test_rows_come_back_from_csv_as_they_were(tmp_path):
    path = tmp_path / "new" / "results.csv"
    save(path, ROWS, {"ops": SOURCE, "memory": SOURCE})
    pd.testing.assert_frame_equal(read(path), ROWS)
    assert list(read_sources(path)["ops"]["libraries"]) == ["b", "a"]
    assert len(list(path.parent.iterdir())) == 2


def test_a_section_measured_again_replaces_its_rows_alone(tmp_path):
    path = tmp_path / "results.csv"
    save(path, ROWS, {"ops": SOURCE, "memory": SOURCE})
    later = SOURCE | {"date": "2026-02-02"}
    save(path, ROWS[:1].assign(value=2.0), {"ops": later})
    rows = read(path)
    assert list(rows[rows.section == "ops"].value) == [2.0]
    assert list(rows[rows.section == "memory"].value) == [17179869957]
    assert read_sources(path) == {"ops": later, "memory": SOURCE}


def test_a_run_says_where_it_comes_from():
    source = provenance("benchmarks.speed", "--only", "a b")
    [run] = runs({"ops": source}).to_dict("records")
    assert run["command"] == "`python -m benchmarks.speed --only 'a b'`"
    assert run["versions"].startswith("python 3.")
    assert run["hardware"] == f"{source['hardware']['processor']}, " + (
        f"{source['hardware']['cores']} cores"
    )


def test_numbers_are_short_and_texts_are_left_alone():
    rows = pd.DataFrame({"key": ["1e367825", "a|b"], "p": [0.0123456, 1.0]})
    lines = "| key | p |\n|---|---|\n| 1e367825 | 0.0123 |\n| a\\|b | 1 |"
    assert table(rows) == lines


def test_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="no place for 'laws'"):
        fill("<!-- laws --> but no end", {"laws": "a table"})


def test_table_replaces_what_stands_between_its_marks():
    page = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n"
    new = fill(page, {"a": "new"})
    assert new == "before\n<!-- a -->\n\nnew\n\n<!-- end of a -->\nafter\n"
