"""Unlabelled images are found in every kind of source, and looked at before anything is learned on them."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mergeometry import limits
from mergeometry.errors import DataError, MergeometryError, SourceError
from mergeometry.inputs import UnlabelledData, read_images, read_unlabelled
from mergeometry.recipe.inputs import AdaptTask, DataSource

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]


def image(path: Path, colour: int = 0, size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 10, 200)).save(path)
    return path


def encoded(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (colour, 1, 2)).save(buffer, "PNG")
    return buffer.getvalue()


def read(place: Path | str, **keys: Any) -> UnlabelledData:
    return read_unlabelled(AdaptTask(name="birds", data=DataSource(path=str(place), **keys)), "images")


def refusal(place: Path | str, **keys: Any) -> str:
    with pytest.raises(MergeometryError, match="model: birds") as caught:
        read(place, **keys)
    return str(caught.value)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    names = ["b.png", "a.JPG", "sub/c.webp", "sub/deeper/a.bmp", "z.gif", "t.tiff", "p.ppm"]
    for number, name in enumerate(names):
        image(tmp_path / name, number)
    image(tmp_path / ".hidden.png")
    image(tmp_path / ".trash/x.png")
    (tmp_path / "labels.csv").write_text("x")
    found = read(tmp_path)
    assert found.items == tuple(tmp_path / name for name in sorted(names)) and found.kind == "images"
    assert found.notes == ()
    assert read_images(DataSource(path=str(tmp_path))) == found.items


def test_a_limit_takes_images_from_everywhere(tmp_path: Path) -> None:
    for number in range(6):
        image(tmp_path / f"{number}.png")
    found = read(tmp_path, limit=2)
    assert found.items == (tmp_path / "0.png", tmp_path / "3.png")
    assert found.notes == ("2 of 6 are used, evenly spread",)


def test_tables_of_paths(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    images = (image(tmp_path / "images/a.png", 1), image(tmp_path / "b.png", 2))
    (tmp_path / "t.csv").write_text(f"label,image\n1,images/a.png\n2,{images[1]}\n")
    (tmp_path / "t.jsonl").write_text('{"image": "images/a.png"}\n{"image": "b.png"}\n')
    pyarrow.parquet.write_table(pa.table({"image": ["images/a.png", "b.png"]}), tmp_path / "t.parquet")
    (tmp_path / "u.tsv").write_text("file\nimages/a.png\nb.png\n")
    digest = read(tmp_path / "t.csv").digest
    for place, keys in [("t.csv", {}), ("t.jsonl", {}), ("t.parquet", {}), ("u.tsv", {"column": "file"})]:
        found = read(tmp_path / place, **keys)
        assert found.items == images and found.digest == digest
    assert "no column 'image'" in refusal(tmp_path / "u.tsv")


def test_the_digest_is_of_contents_in_their_order(tmp_path: Path) -> None:
    for folder, colours in [("one", (1, 2)), ("same", (1, 2)), ("turned", (2, 1)), ("less", (1,))]:
        for number, colour in enumerate(colours):
            image(tmp_path / folder / f"{folder}-{number}.png", colour)
    digests = [read(tmp_path / folder).digest for folder in ("one", "same", "turned", "less")]
    assert digests[0] == digests[1] and len(set(digests)) == 3


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ("image\nnone.png\n", "none.png"),
        ("id,image\n1,\n", "image 1 of the column has no path"),
        ("image\n", "there are no images"),
        ("image\nt.csv\n", "cannot be decoded: its format is unknown"),
        ("imgae\nx.png\n", "no column 'image', did you mean 'imgae'?"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, table: str, wanted: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    assert wanted in refusal(tmp_path / "t.csv")


def test_images_that_are_none_are_named(tmp_path: Path) -> None:
    image(tmp_path / "good.png")
    whole = encoded()
    flipped = whole[:40] + bytes([whole[40] ^ 255]) + whole[41:]
    for content in [b"", b"text", b"\x89PNG\r\n\x1a\n", whole[:20], flipped, b"%!PS-Adobe-3.0 EPSF-3.0\n"]:
        (tmp_path / "bad.png").write_bytes(content)
        said = refusal(tmp_path)
        assert "cannot be decoded" in said and "bad.png" in said and "BytesIO" not in said


def test_an_image_that_unfolds_to_gigabytes(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    for side in (11_000, 100_000):
        header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        content = (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        )
        (tmp_path / "bomb.png").write_bytes(content)
        said = refusal(tmp_path)
        assert "pixels" in said and "bomb.png" in said


def test_an_image_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "a.png")
    monkeypatch.setattr(limits, "DATA_ITEMS", 0)
    assert "more than 0 files" in refusal(tmp_path)
    monkeypatch.undo()
    os.truncate(tmp_path / "a.png", limits.IMAGE_BYTES + 1)
    assert "at most 268,435,456" in refusal(tmp_path)


def test_places_that_hold_no_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="birds"):
        read(tmp_path / "none.csv")
    (tmp_path / "a.txt").write_text("x")
    assert "holds no images" in refusal(tmp_path) and "1 with .txt" in refusal(tmp_path)
    assert "'.txt' are not read" in refusal(tmp_path / "a.txt")
    image(tmp_path / "a.png")
    assert "has no columns" in refusal(tmp_path, column="image")
    assert "have splits" in refusal(tmp_path, split="train")


def embedded(folder: Path, contents: list[bytes | None], paths: list[str | None], ending: str) -> Path:
    """Write images as the datasets library and its Parquet files hold them."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet

    rows = [{"bytes": content, "path": path} for content, path in zip(contents, paths, strict=True)]
    if ending == "parquet":
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        pyarrow.parquet.write_table(
            pa.table({"image": pa.array(rows, kind), "label": [0] * len(rows)}), folder / "e.parquet"
        )
        return folder / "e.parquet"
    columns = {"image": rows, "label": [0] * len(rows)}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a"])})
    datasets.Dataset.from_dict(columns, features).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("ending", ["parquet", "saved"])
def test_embedded_images_are_unpacked_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
    contents: list[bytes | None] = [encoded(colour) for colour in range(4)]
    place = embedded(tmp_path, contents, [None] * 4, ending)
    found = read(place, limit=2)
    assert [Path(item).read_bytes() for item in found.items] == [contents[0], contents[2]]
    assert found.notes == ("2 of 4 are used, evenly spread",)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(found.items)
    stamps = [path.stat().st_mtime_ns for path in kept]
    assert read(place, limit=2) == found and [path.stat().st_mtime_ns for path in kept] == stamps
    kept[0].write_bytes(bytes(len(kept[0].read_bytes())))
    assert read(place, limit=2) == found and [Path(item).read_bytes() for item in found.items] == contents[::2]


def test_embedded_images_may_be_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
    path = image(tmp_path / "a.png")
    assert read(embedded(tmp_path, [None, None], [str(path), "a.png"], "parquet")).items == (path, path)
    assert not (tmp_path / "cache").exists()
    assert "has no path" in refusal(embedded(tmp_path, [None], [None], "parquet"))
    assert "values of type int64, not images" in refusal(tmp_path / "e.parquet", column="label")


def test_an_image_folder_by_a_data_set_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number in range(3):
        image(tmp_path / f"birds/train/{number}.png", number)
    found = read_images(DataSource(dataset=str(tmp_path / "birds")))
    assert [path.name for path in found] == ["0.png", "1.png", "2.png"]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
    assert "cannot be unpacked" in refusal(embedded(tmp_path, [encoded()], [None], "parquet"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 200), change=st.binary(max_size=8), format=st.sampled_from(FORMATS))
def test_a_damaged_image_is_an_image_or_one_clear_error(tmp_path: Path, place: int, change: bytes, format: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (1, 2, 3)).save(buffer, format)
    content = buffer.getvalue()
    (tmp_path / "x.png").write_bytes(content[:place] + change + content[place + len(change) :])
    try:
        assert len(read(tmp_path).items) == 1
    except DataError as error:
        assert "x.png" in str(error)
