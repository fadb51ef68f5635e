"""Images that a table holds as bytes: unpacked into the user's cache, since learning reads images by their paths."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.cache import cache_folder, made_in_cache
from mergeometry.errors import DataError
from mergeometry.inputs.arrow import Column
from mergeometry.inputs.choice import spread
from mergeometry.inputs.extras import optional


def is_embedded(kind: Any) -> bool:
    """Whether an Arrow type is that of the datasets library's images: their bytes, their path, or both."""
    types = optional("pyarrow.types", "data", "reading Arrow tables")
    return types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def unpacked(column: Column, limit: int | None) -> list[str | Path | None]:
    """Return the path of each row's image, in the cache if its bytes are embedded; None for rows not chosen.

    Raises:
        DataError: an image is too large or cannot be written.
    """
    chosen = set(spread(range(column.rows), limit))
    values: list[str | Path | None] = []
    for piece in column.pieces:
        for row, value in enumerate(piece, start=len(values)):
            values.append(_image(value.as_py(), row, column) if row in chosen else None)
    return values


def _image(value: dict[str, Any] | None, row: int, column: Column) -> str | Path:
    content = (value or {}).get("bytes")
    if not content:
        return (value or {}).get("path") or ""
    if len(content) > limits.IMAGE_BYTES:
        raise DataError(f"the image of row {row + 1:,} is larger than {limits.IMAGE_BYTES:,} bytes", file=column.place)
    digest = hashlib.sha256(content).hexdigest()
    target = cache_folder() / "images" / digest[:2] / digest
    try:
        if not _is_whole(target, content):
            _write(target, content)
    except OSError as error:
        raise DataError(f"an embedded image cannot be unpacked: {error.strerror}", file=target) from error
    return target


def _is_whole(target: Path, content: bytes) -> bool:
    """Whether the cache holds the very image: a file of its size may be damaged."""
    try:
        return target.stat().st_size == len(content) and target.read_bytes() == content
    except FileNotFoundError:
        return False


def _write(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".unpacking-", dir=made_in_cache(target.parent))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
