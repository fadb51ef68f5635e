"""`mergeometry inspect`: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers import models
from tests.helpers.commands import invoke

HOSTILE = "\x1b[31mred\u202e[bold]"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    tensors = models.random_tensors(0)
    models.write_model(folder / "base", tensors)
    for seed in (1, 2):
        models.write_model(folder / f"task{seed}", models.tuned(tensors, seed))
    entries = [{"path": "task1", "name": HOSTILE}, {"path": "task2", "name": "second"}]
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"base": "base", "models": entries, "method": "average"}))
    return path


def test_it_writes_the_page_and_the_figures_and_prints_them(recipe: Path, tmp_path: Path) -> None:
    done = invoke("inspect", recipe, "--output", tmp_path / "out", "--workers", "1")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "inspection.json"]
    figures = json.loads((tmp_path / "out" / "inspection.json").read_text("utf-8"))
    assert [model["label"] for model in figures["models"]] == [HOSTILE, "second"]
    assert "2 models of" in done.output and "6 tensors" in done.output and "index.html" in done.output
    moved = figures["totals"]["models"][1]["norm"]
    assert f"{moved:.3g}" in done.output
    assert "\x1b[31m" not in done.output and "\u202e" not in done.output
    assert "\\x1b[31mred\\u202e[bold]" in done.output


def test_json_is_what_the_file_holds(recipe: Path, tmp_path: Path) -> None:
    done = invoke("inspect", recipe, "--output", tmp_path / "out", "--workers", "1", "--json")
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "inspection.json").read_text("utf-8"))


def test_a_second_inspection_replaces_the_first_and_nothing_else(recipe: Path, tmp_path: Path) -> None:
    again = ("inspect", recipe, "--output", tmp_path / "out", "--workers", "1", "--quiet")
    assert [invoke(*again).exit_code, invoke(*again).exit_code] == [0, 0]
    assert invoke(*again).output == ""
    (tmp_path / "out" / "letter.txt").write_text("mine")
    refused = invoke(*again)
    assert refused.exit_code == 1 and "what no inspection wrote: letter.txt" in refused.output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    refused = invoke("inspect", recipe, "--output", tmp_path / "mine")
    assert refused.exit_code == 1 and (tmp_path / "mine" / "index.html").read_text() == "mine"
    refused = invoke("inspect", recipe, "--output", recipe.parent / "task1" / "out")
    assert refused.exit_code == 1 and "the folder of an input" in refused.output


def test_mismatches_are_told_before_anything_is_read(recipe: Path, tmp_path: Path) -> None:
    models.write_model(tmp_path / "other", {"something.else": models.random_tensors(0)["embed.weight"]})
    done = invoke(
        "inspect", "--base", recipe.parent / "base", "--model", tmp_path / "other", "--output", tmp_path / "out"
    )
    assert done.exit_code == 1 and "do not fit together" in done.output
    assert not (tmp_path / "out").exists()
