"""Unlabelled texts are read whole and without a guess; what is wrong with a source is said with its line."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeometry import limits
from mergeometry.errors import DataError, MergeometryError, SourceError
from mergeometry.inputs import read_texts, read_unlabelled, unlabelled_texts
from mergeometry.recipe.adapt import AdaptTask, DataSource

TEXTS = ["What is it?", 'A "quoted", text', "two\nlines", "naïve 文 🙂", "\ttabs\t"]
ANY_FILE = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def texts(place: Path | str, **keys: Any) -> tuple[str, ...]:
    return read_texts(DataSource(path=str(place), **keys))


def refusal(place: Path | str, **keys: Any) -> str:
    with pytest.raises(MergeometryError) as caught:
        texts(place, **keys)
    said = str(caught.value)
    assert Path(place).name in said
    return said


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def parquet(path: Path, **columns: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def store(folder: Path, values: list[str], ending: str) -> Path:
    """Write texts beside a column of labels, as another program would."""
    path = folder / f"data{ending}"
    if ending == ".jsonl":
        return written(path, rows(*({"label": 3, "text": value} for value in values)))
    if ending == ".parquet":
        return parquet(path, label=list(range(len(values))), text=values)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if ending == ".tsv" else ",")
        writer.writerows([["label", "text"], *([3, value] for value in values)])
    return path


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


def test_empty_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", rows({"text": " \n"}, {"text": "a"}, {"text": None}, {"text": ""}))
    found = read_unlabelled(AdaptTask(name="trec", data=DataSource(path=str(path))), "texts")
    assert found.items == ("a",) and found.kind == "texts"
    assert found.notes == ("3 empty texts of 4 are left out",)


def test_a_limit_takes_texts_from_everywhere(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "".join(f"text {number}\n" for number in range(10)))
    assert texts(path, limit=3) == ("text 0", "text 3", "text 6")
    assert len(texts(path, limit=10)) == len(texts(path, limit=99)) == 10
    found = read_unlabelled(AdaptTask(name="trec", data=DataSource(path=str(path), limit=4)), "texts")
    assert found.notes == ("4 of 10 are used, evenly spread",)


@given(count=st.integers(1, 200), limit=st.integers(1, 250))
def test_a_spread_has_its_size_and_no_gap_twice_another(count: int, limit: int) -> None:
    from mergeometry.inputs.choice import spread

    chosen = spread(range(count), limit)
    assert len(chosen) == min(count, limit) and sorted(set(chosen)) == list(chosen)
    steps = {right - left for left, right in itertools.pairwise(chosen)}
    assert not steps or max(steps) - min(steps) <= 1


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


def test_parquet_columns_of_other_types(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", label=[1, 2], tokens=[["a"], ["b"]], raw=[b"a", b"b"])
    assert "holds values of type int64, not texts" in refusal(path, column="label")
    assert "not texts" in refusal(path, column="tokens") and "not texts" in refusal(path, column="raw")


def test_parquet_strings_of_every_kind(tmp_path: Path) -> None:
    import pyarrow as pa

    kinds = {"a": pa.string(), "b": pa.large_string(), "c": pa.dictionary(pa.int32(), pa.string()), "d.e": pa.string()}
    columns = {name: pa.array(["x", None, "y"], pa.string()).cast(kind) for name, kind in kinds.items()}
    path = parquet(tmp_path / "a.parquet", **columns)
    for name in kinds:
        assert texts(path, column=name) == ("x", "y")


def test_a_damaged_parquet_file_is_one_error(tmp_path: Path) -> None:
    content = store(tmp_path, TEXTS * 50, ".parquet").read_bytes()
    seen = 0
    for place in range(0, len(content), 23):
        try:
            texts(
                written(tmp_path / "b.parquet", content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
            )
        except MergeometryError:
            seen += 1
        try:
            texts(written(tmp_path / "b.parquet", content[:place]))
        except DataError:
            seen += 1
    assert seen > len(content) / 23


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


def test_errors_name_the_task(tmp_path: Path) -> None:
    task = AdaptTask(name="trec", data=DataSource(path=str(tmp_path / "none.txt")))
    with pytest.raises(SourceError, match="model: trec"):
        read_unlabelled(task, "texts")


def test_the_digest_is_of_the_texts_alone(tmp_path: Path) -> None:
    def digest(values: list[str], ending: str, name: str = "t") -> str:
        path = store(tmp_path, values, ending)
        return read_unlabelled(AdaptTask(name=name, data=DataSource(path=str(path))), "texts").digest

    assert digest(TEXTS, ".csv") == digest(TEXTS, ".parquet", "u") == unlabelled_texts(TEXTS).digest
    others = [TEXTS[::-1], TEXTS[:-1], [*TEXTS, "x"], ["ab", "c"], ["a", "bc"], ["abc"]]
    assert len({unlabelled_texts(values).digest for values in others}) == len(others)


def test_texts_in_memory() -> None:
    assert unlabelled_texts(["a", "b"]).items == ("a", "b")
    with pytest.raises(DataError, match="no texts"):
        unlabelled_texts([])
    with pytest.raises(DataError, match="text 2 holds half a surrogate"):
        unlabelled_texts(["a", "\ud800"])


def test_a_missing_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, TEXTS, ".parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"reading Parquet needs pyarrow(.|\n)*pip install 'mergeometry\[data\]'"):
        texts(path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs datasets(.|\n)*pip install 'mergeometry\[data\]'"):
        read_texts(DataSource(dataset="imdb"))


def test_reading_plain_files_imports_nothing_heavy(tmp_path: Path) -> None:
    import subprocess

    store(tmp_path, TEXTS, ".csv")
    program = (
        "import sys; from mergeometry.inputs import read_texts; from mergeometry.recipe.adapt import DataSource;"
        f"read_texts(DataSource(path={str(tmp_path / 'data.csv')!r}));"
        "print([name for name in ('transformers', 'datasets', 'pyarrow', 'PIL', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def library(values: list[str], **columns: Any) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"text": values, **columns})


def test_a_data_set_saved_on_disk(tmp_path: Path) -> None:
    saved = library(TEXTS, label=list(range(5)))
    saved.save_to_disk(tmp_path / "one")
    assert texts(tmp_path / "one") == tuple(TEXTS)
    saved.select([4, 0]).save_to_disk(tmp_path / "chosen")
    assert texts(tmp_path / "chosen", limit=1) == (TEXTS[4],)
    assert "no column 'txet', did you mean 'text'?" in refusal(tmp_path / "one", column="txet")
    assert "values of type int64, not texts" in refusal(tmp_path / "one", column="label")
    assert "one data set without splits" in refusal(tmp_path / "one", split="train")


def test_splits_of_a_data_set_saved_on_disk(tmp_path: Path) -> None:
    import datasets

    splits = datasets.DatasetDict({"train": library(["a", "b"]), "test": library(["c"])})
    splits.save_to_disk(tmp_path / "all")
    assert texts(tmp_path / "all") == ("a", "b") and texts(tmp_path / "all", split="test") == ("c",)
    assert "no split 'tset', did you mean 'test'?" in refusal(tmp_path / "all", split="tset")
    datasets.DatasetDict({"other": library(["c"])}).save_to_disk(tmp_path / "other")
    assert "no split 'train'; name one of: other" in refusal(tmp_path / "other")


def test_a_damaged_saved_data_set_is_one_error(tmp_path: Path) -> None:
    library(TEXTS).save_to_disk(tmp_path / "one")
    for name in ["state.json", "dataset_info.json"]:
        content = (tmp_path / "one" / name).read_bytes()
        written(tmp_path / "one" / name, b"{")
        assert "datasets library cannot load it" in refusal(tmp_path / "one")
        written(tmp_path / "one" / name, content)
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"nonsense")
    assert "datasets library cannot load it" in refusal(tmp_path / "one")


def test_a_data_set_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    # The library takes a local folder wherever it takes the name of a data set on the hub.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    written(tmp_path / "set/train.jsonl", rows({"text": "a", "label": 1}, {"text": "b", "label": 0}))
    written(tmp_path / "set/test.jsonl", rows({"text": "c", "label": 1}))
    name = str(tmp_path / "set")
    assert read_texts(DataSource(dataset=name)) == ("a", "b")
    assert read_texts(DataSource(dataset=name, split="test")) == ("c",)
    with pytest.raises(DataError, match="no column 'body'"):
        read_texts(DataSource(dataset=name, column="body"))
    with pytest.raises(DataError, match="datasets library cannot load it"):
        read_texts(DataSource(dataset=name, split="dev"))
    with pytest.raises(DataError, match="datasets library cannot load it"):
        read_texts(DataSource(dataset=str(tmp_path / "none")))


def test_progress_bars_of_the_library_are_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import datasets

    library(TEXTS * 1000).save_to_disk(tmp_path / "one")
    capfd.readouterr()
    before = datasets.are_progress_bars_disabled()
    texts(tmp_path / "one")
    assert datasets.are_progress_bars_disabled() == before
    assert capfd.readouterr() == ("", "")


def test_texts_of_a_table_with_many_rows(tmp_path: Path) -> None:
    values = [f"text {number}" for number in range(3000)]
    assert texts(store(tmp_path, values, ".parquet")) == tuple(values)
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["text"], *([value] for value in values)])
    assert texts(written(tmp_path / "b.csv", buffer.getvalue())) == tuple(values)
