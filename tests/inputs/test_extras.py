"""Optional libraries are imported where they are needed, and asked for by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mergeometry.errors import DataError
from mergeometry.inputs import read_texts
from mergeometry.recipe.inputs import DataSource
from tests.helpers.text_files import TEXTS, store, texts


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
        "import sys; from mergeometry.inputs import read_texts; from mergeometry.recipe.inputs import DataSource;"
        f"read_texts(DataSource(path={str(tmp_path / 'data.csv')!r}));"
        "print([name for name in ('transformers', 'datasets', 'pyarrow', 'PIL', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
