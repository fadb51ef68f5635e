"""Texts are read whole and without a guess; what is wrong with a source is said with its line."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeometry import limits
from mergeometry.errors import DataError, MergeometryError, SourceError
from tests.helpers.text_files import TEXTS, refusal, rows, store, texts, written

ANY_FILE = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_table_gives_its_texts(tmp_path: Path, ending: str) -> None:
    assert texts(store(tmp_path, TEXTS, ending)) == tuple(TEXTS)
    assert texts(store(tmp_path, TEXTS, ending), column="text") == tuple(TEXTS)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@ANY_FILE
@given(values=st.lists(WORDS, max_size=8), ending=st.sampled_from([".jsonl", ".csv", ".tsv", ".parquet"]))
def test_any_texts_come_back(tmp_path: Path, values: list[str], ending: str) -> None:
    wanted = tuple(value for value in values if value.strip())
    path = store(tmp_path, values, ending)
    try:
        assert texts(path) == wanted
    except DataError as error:
        assert not wanted or "numbers" in str(error)


def test_plain_text_is_a_text_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "t.txt", "one\r\ntwo \n\n  \nthree\u2028still three\nno end")
    assert texts(path) == ("one", "two ", "three\u2028still three", "no end")


def test_a_folder_is_a_text_a_file(tmp_path: Path) -> None:
    for name, content in [("b.txt", "second\nline"), ("a.TXT", "first"), ("sub/c.txt", "third"), (".h.txt", "no")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, content)
    written(tmp_path / "labels.csv", "x")
    (tmp_path / ".git").mkdir()
    written(tmp_path / ".git/x.txt", "hidden")
    assert texts(tmp_path) == ("first", "second\nline", "third")


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".txt"])
def test_a_mark_of_the_encoding_is_no_text(tmp_path: Path, ending: str) -> None:
    content = {".jsonl": rows({"text": "é"}), ".csv": "text\né\n", ".txt": "é\n"}[ending]
    assert texts(written(tmp_path / f"x{ending}", content.encode("utf-8-sig"))) == ("é",)


def test_windows_line_ends_and_empty_lines(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.csv", "id,text\r\n1,one\r\n\r\n2,two\r\n")) == ("one", "two")
    assert texts(written(tmp_path / "a.jsonl", '{"text": "one"}\r\n\r\n{"text": "two"}')) == ("one", "two")


def test_texts_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "word " * 50_000
    assert texts(store(tmp_path, [long, "b"], ".csv")) == (long, "b")
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_a_missing_column_names_those_there_and_the_nearest(tmp_path: Path, ending: str) -> None:
    said = refusal(store(tmp_path, TEXTS, ending), column="txet")
    assert "no column 'txet', did you mean 'text'? Columns: 'label', 'text'" in said and "column: ..." in said


def test_one_column_is_not_taken_by_guess(tmp_path: Path) -> None:
    said = refusal(written(tmp_path / "a.csv", "sentence\none\n"))
    assert "no column 'text'" in said and "'sentence'" in said


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.jsonl", "", "there are no texts"),
        ("a.jsonl", rows({"text": ""}, {"text": " "}), "all 2 texts are empty"),
        ("a.jsonl", rows({"text": "a"}) + "{nonsense\n", "JSON in line 2 is not valid"),
        ("a.jsonl", rows({"text": "a"}, [1]), "JSON in line 2 must be a JSON object, got an array"),
        ("a.jsonl", rows({"text": "a"}, {"label": 1}), "line 2 has no column 'text'; columns: 'label'"),
        ("a.jsonl", rows({"text": "a"}, {"text": 3}), "column 'text' holds a number in line 2"),
        ("a.jsonl", rows({"text": ["a"]}), "column 'text' holds an array in line 1"),
        ("a.jsonl", rows({"text": True}), "column 'text' holds a boolean"),
        ("a.jsonl", rows({"text": {"a": 1}}), "column 'text' holds an object"),
        ("a.jsonl", rows({"text": "1"}, {"text": "-2.5e3"}), "holds numbers ('1', ...), not texts"),
        ("a.jsonl", '{"text": "\\ud800"}\n', "JSON in line 1 has half a surrogate pair"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "JSON in line 1 has the key 'text' twice"),
        ("a.jsonl", '\n{"text": ' + "[" * 5000, "JSON in line 2 is nested deeper"),
        ("a.jsonl", '{"text": ' + "9" * 5000 + "}", "JSON in line 1 is not valid"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}', "JSON in line 2 is not UTF-8"),
        ("a.jsonl", "{}", "no column 'text'; columns: none"),
        ("a.csv", "", "there are no texts"),
        ("a.csv", "text\n", "there are no texts"),
        ("a.csv", "id,text\n1,a\n2,b,c\n", "row that ends in line 3 has 3 fields, but the header 2"),
        ("a.csv", 'id,text\n1,"a\nb"\n2\n', "row that ends in line 4 has 1 fields, but the header 2"),
        ("a.csv", 'id,text\n1,"never ends\n', "line 2: unexpected end of data"),
        ("a.csv", 'id,text\n1,"a"b\n', "near line 2"),
        ("a.csv", "text,text\na,b\n", "2 columns named 'text'"),
        ("a.csv", "text,label\n1,a\n2,b\n", "holds numbers ('1', ...)"),
        ("a.csv", b"id,text\n1,a\n2,caf\xe9\n", "line 3 is not UTF-8 (byte 6 of it)"),
        ("a.csv", "id,text\n1,a\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("a.csv", "x," * 20_000, "20,001 columns"),
        ("a.tsv", "id,text\n1,a\n", "Columns: 'id,text'"),
        ("a.parquet", b"PAR1 nonsense", "Parquet file cannot be read"),
        ("a.parquet", b"", "Parquet file cannot be read"),
        ("a.txt", "", "there are no texts"),
        ("a.txt", "\n \n", "all 2 texts are empty"),
        ("a.txt", b"ok\n\xff\xfe\n", "line 2 is not UTF-8"),
        ("a.json", "[]", "'.json' are not read"),
        ("a.xlsx", "x", "'.xlsx' are not read"),
        ("data", "x", "no ending"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: str | bytes, wanted: str) -> None:
    assert wanted in refusal(written(tmp_path / name, content))


def test_places_that_are_no_data(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / "none.txt")
    assert "cannot be opened" in refusal(tmp_path / "no/such/file.csv")
    os.mkfifo(tmp_path / "pipe.txt")
    assert "pipe" in refusal(tmp_path / "pipe.txt")
    with pytest.raises(SourceError):
        texts("x\0.txt")
    (tmp_path / "empty").mkdir()
    assert "holds no text files (.txt); it holds no files" in refusal(tmp_path / "empty")
    written(tmp_path / "empty/a.csv", "text\na\n")
    assert "it holds 1 with .csv" in refusal(tmp_path / "empty")
    written(tmp_path / "empty/b.txt", b"\xff")
    with pytest.raises(DataError, match=r"the text is not UTF-8(.|\n)*b\.txt"):
        texts(tmp_path / "empty")


def test_keys_that_do_not_fit_the_source(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "one\n")
    assert "plain text has no columns" in refusal(path, column="text")
    assert "only data sets have splits" in refusal(path, split="train")
    assert "only data sets have splits" in refusal(store(tmp_path, TEXTS, ".csv"), split="train")


def test_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.txt", "0123456789\n" * 10)
    monkeypatch.setattr(limits, "DATA_ITEMS", 5)
    for place in [path, store(tmp_path, TEXTS * 2, ".csv"), store(tmp_path, TEXTS * 2, ".jsonl")]:
        assert "more than 5 items" in refusal(place)
    assert "more than 5 items" in refusal(store(tmp_path, TEXTS * 2, ".parquet"))
    monkeypatch.undo()
    monkeypatch.setattr(limits, "EMPTY_LINES", 5)
    for ending, first in ((".csv", "text\na\n"), (".jsonl", '{"text": "a"}\n'), (".txt", "a\n")):
        assert "more than 5 empty lines" in refusal(written(tmp_path / f"empty{ending}", first + "\n" * 6))
    monkeypatch.setattr(limits, "TEXT_BYTES", 8)
    assert "line 1 is longer than 8 bytes" in refusal(path)
    assert "row 1 is longer than 8" in refusal(store(tmp_path, TEXTS, ".parquet"))
    with path.open("r+b") as file:
        file.truncate(limits.DATA_BYTES + 1)
    assert "at most 2,147,483,648 are read" in refusal(path)


@ANY_FILE
@given(content=st.binary(max_size=80) | st.text(max_size=60).map(str.encode), ending=st.sampled_from(["jsonl", "csv",
       "tsv", "txt", "parquet"]))  # fmt: skip
def test_any_bytes_are_texts_or_one_clear_error(tmp_path: Path, content: bytes, ending: str) -> None:
    path = written(tmp_path / f"x.{ending}", b"text\n" + content if ending in {"csv", "tsv"} else content)
    try:
        found = texts(path)
    except MergeometryError as error:
        assert path.name in str(error)
        return
    assert found and all(text.strip() for text in found)


def test_texts_of_a_table_with_many_rows(tmp_path: Path) -> None:
    values = [f"text {number}" for number in range(3000)]
    assert texts(store(tmp_path, values, ".parquet")) == tuple(values)
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["text"], *([value] for value in values)])
    assert texts(written(tmp_path / "b.csv", buffer.getvalue())) == tuple(values)
