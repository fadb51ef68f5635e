"""A comparison writes into a folder of its own: nobody's page is overwritten, and no input's folder is filled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergeometry.comparison.own_folder import PAGES, refuse_foreign_folder
from mergeometry.errors import OutputError

OURS = json.dumps({"measure": "accuracy", "rows": [], "experts": {}})


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", "/")).parent.mkdir(parents=True, exist_ok=True)
        (folder / name.replace("__", "/")).write_text(text)
    return folder


def test_folders_of_a_comparison_are_taken(tmp_path: Path) -> None:
    refuse_foreign_folder(tmp_path / "new", [tmp_path / "base"])
    refuse_foreign_folder(tmp_path, [tmp_path / "base"])
    begun = write(tmp_path / "begun", **{"results__a-test.json": "{}", ".scratch-7-x__all": "", "results__.b.9": ""})
    refuse_foreign_folder(begun, [])
    done = write(tmp_path / "done", **dict.fromkeys(PAGES, OURS), **{"results__a.json": "{}", ".index.html.12": ""})
    refuse_foreign_folder(done, [])


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"index.html": "my page"}, "index.html"),
        ({"index.html": "my page", "comparison.json": '{"mine": 1}'}, "comparison.json, index.html"),
        ({"comparison.json": OURS, "thesis.tex": ""}, "thesis.tex"),
        ({"results__table.csv": "1,2"}, "results/table.csv"),
        ({"results": "a file"}, "results"),
        ({"src__main.py": ""}, "src"),
    ],
)
def test_what_somebody_else_wrote_is_listed(tmp_path: Path, files: dict[str, str], named: str) -> None:
    write(tmp_path, **files)
    with pytest.raises(OutputError, match=rf"holds what no comparison wrote: {named}\n"):
        refuse_foreign_folder(tmp_path, [])


def test_an_inputs_folder_stays_as_it_is(tmp_path: Path) -> None:
    base = write(tmp_path / "base", **{"model.safetensors": ""})
    for place in (base, base / "comparison"):
        with pytest.raises(OutputError, match="lies in the folder of an input"):
            refuse_foreign_folder(place, [base])
    with pytest.raises(OutputError, match="not a folder"):
        refuse_foreign_folder(base / "model.safetensors", [])
