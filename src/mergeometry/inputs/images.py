"""Unlabelled images: files of a folder, or of a table's column."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.errors import DataError
from mergeometry.inputs.arrow import Column, is_text, take_texts
from mergeometry.inputs.choice import note_of_limit, spread
from mergeometry.inputs.depth import is_deep
from mergeometry.inputs.embedded import is_embedded, unpacked
from mergeometry.inputs.extras import optional
from mergeometry.inputs.folders import files_below, is_folder
from mergeometry.inputs.lines import opened
from mergeometry.inputs.saved import is_saved, read_named, read_saved
from mergeometry.inputs.tables import read_table
from mergeometry.recipe.inputs import DataSource

_COLUMN = "image"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def read_images(source: DataSource) -> tuple[Path, ...]:
    """Return the images of a source as files, at most ``source.limit`` of them, spread evenly.

    A source is a folder of image files, in subfolders or not, in the order of their names; a .jsonl, .csv, .tsv or
    .parquet table with a column of paths (by default ``image``) relative to the table's folder; or a data set
    of the datasets library, saved or named, whose embedded images are unpacked into the user's cache.

    Raises:
        DataError: there are no images, or the column is missing or holds something else.
        SourceError: a table cannot be opened.
    """
    return images_and_notes(source)[0]


def images_and_notes(source: DataSource) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return what `read_images` does, and a note if these are not all of the source."""
    values = _values(source)
    if not values:
        raise DataError("there are no images", file=source.path or source.dataset or "")
    paths = _paths(spread(values, source.limit), source)
    return paths, note_of_limit(len(paths), len(values))


def image_paths(source: DataSource) -> tuple[Path, ...]:
    """Return every image of a source as a file, in its order; DataError and SourceError as `read_images`."""
    return _paths(_values(source.model_copy(update={"limit": None})), source)


def _paths(values: Sequence[str | Path | None], source: DataSource) -> tuple[Path, ...]:
    place = source.path or source.dataset or ""
    folder = None if source.path is None else Path(source.path)
    if folder is not None and not is_folder(folder):
        folder = folder.parent
    return tuple(_path(value, number, folder, place) for number, value in enumerate(values, 1))


def check_images(paths: Sequence[Path]) -> tuple[str, tuple[str, ...]]:
    """Check each file; return the SHA-256 of all contents in their order, and a note if some have more than 8 bits.

    Raises:
        DataError: a file is not an image of a known format, is damaged or too large, or has too many pixels.
        SourceError: a file cannot be opened.
    """
    image, deep = optional("PIL.Image", "adapt", "reading images"), 0

    def checked() -> Iterator[bytes]:
        nonlocal deep
        for path in paths:
            with opened(path, limits.IMAGE_BYTES) as file:
                content = file.read()
            deep += _check(content, path, image)
            yield content

    digest = digest_of_images(checked())
    note = f"{deep:,} of {len(paths):,} images have more than 8 bits a channel, and are brought to 8 by their range"
    return digest, (note,) if deep else ()


def digest_of_images(files: Iterable[bytes]) -> str:
    """Return the SHA-256 of the contents of images' files in their order."""
    digest = hashlib.sha256(b"images")
    for content in files:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _values(source: DataSource) -> Sequence[str | Path | None]:
    column = source.column or _COLUMN
    take = partial(_taken, limit=source.limit)
    if source.path is None:
        return read_named(source, column, take)
    place = Path(source.path)
    if is_folder(place) and is_saved(place):
        return read_saved(place, source.split, column, take)
    if source.split is not None:
        raise DataError(f"only data sets have splits, such as {source.split!r}", file=place, hint="leave it out")
    if not is_folder(place):
        return read_table(place, column, take)
    if source.column is not None:
        raise DataError(f"a folder of images has no columns, such as {source.column!r}", file=place)
    return files_below(place, _ENDINGS, "images")


def _taken(column: Column, limit: int | None) -> list[str | Path | None]:
    if is_text(column.kind):
        return [*take_texts(column)]
    if is_embedded(column.kind):
        return unpacked(column, limit)
    raise DataError(
        f"column {column.name!r} holds values of type {column.kind}, not images",
        file=column.place,
        hint="name the column of the images or of their paths",
    )


def _path(value: str | Path | None, number: int, folder: Path | None, place: str) -> Path:
    if isinstance(value, Path):
        return value
    if not value:
        raise DataError(f"image {number:,} of the column has no path", file=place)
    path = Path(value)
    if folder is None and not path.is_absolute():
        raise DataError(
            f"the path of image {number:,}, {value!r}, is relative, and a data set has no folder", file=place
        )
    return path if folder is None else folder / path


def _check(content: bytes, path: Path, image: Any) -> bool:
    """Check an image's header and checksums without decoding its pixels; say whether it has more than 8 bits."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of images with very many pixels; our own limit below is what counts.
            warnings.simplefilter("ignore")
            header = image.open(BytesIO(content), formats=FORMATS)
            (width, height), deep = header.size, is_deep(header)
            header.verify()
    # Pillow answers damaged files with OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        reason = " ".join(str(error).split())[:200].replace(repr(BytesIO), "").strip()
        raise _undecodable(path, reason) from error
    if width * height > limits.IMAGE_PIXELS:
        raise DataError(
            f"the image has {width:,} x {height:,} pixels; at most {limits.IMAGE_PIXELS:,} are read", file=path
        )
    return deep


def _undecodable(path: Path, reason: str) -> DataError:
    what = "its format is unknown" if "identify" in reason else reason
    return DataError(f"the image cannot be decoded: {what}", file=path, hint=f"known: {', '.join(FORMATS)}")
