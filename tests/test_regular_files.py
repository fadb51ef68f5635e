"""A file that somebody else put in the place of a small one is neither waited for nor read without end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mergeometry.comparison.store import Store
from mergeometry.errors import SourceError
from mergeometry.inspection.curves import CURVES, curves_of
from mergeometry.regular_files import read_regular
from mergeometry.sink import read_record
from mergeometry.sink.own_folder import has_keys
from mergeometry.sink.page import read_object

KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
}


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(path, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_anything_else_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    for name in ("mergeometry.json", CURVES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        KINDS[kind](tmp_path / name)
    path = tmp_path / "mergeometry.json"
    with pytest.raises(OSError):
        read_regular(path, 100)
    with pytest.raises(SourceError, match="the run record cannot be read") as caught:
        read_record(tmp_path)
    assert caught.value.file == str(path)
    assert read_object(path) is None and not has_keys(path, []) and curves_of(tmp_path) == ()
    assert Store(tmp_path, "").read("mergeometry") is None
