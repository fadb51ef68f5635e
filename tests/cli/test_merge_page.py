"""The page that `mergeometry merge` writes beside its output: when it does, and that it can spoil nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mergeometry.cli.merge_page import VARIABLE
from tests.helpers import models
from tests.helpers.commands import invoke


@pytest.fixture(autouse=True)
def by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for users, who have not set the variable that the other tests run with."""
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    base, tuned = (models.write_family(tmp_path, count=2)[key] for key in ("base", "models"))
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"base": base, "models": tuned, "method": "average", "heads": ["temperature"]}))
    return path


def merged(recipe: Path, output: Path, *more: str) -> Any:
    done = invoke("merge", recipe, "--output", output, "--workers", "1", *more)
    assert done.exit_code == 0, done.output
    return done


def figures(output: Path) -> dict[str, Any]:
    return json.loads((output.with_name(f"{output.name}-report") / "inspection.json").read_text("utf-8"))


def test_a_merge_writes_its_page_beside_an_output_that_is_the_same_without(recipe: Path, tmp_path: Path) -> None:
    done = merged(recipe, tmp_path / "out")
    page = tmp_path / "out-report" / "index.html"
    assert f"page: {page}" in done.output and "What became of 2 models" in page.read_text("utf-8")
    found = figures(tmp_path / "out")
    assert found["left_out"] == 0 and found["tensors"][0]["merged"]["share_held"]
    merged(recipe, tmp_path / "plain", "--no-report")
    assert not (tmp_path / "plain-report").exists()
    one, other = (json.loads((tmp_path / name / "mergeometry.json").read_text()) for name in ("out", "plain"))
    assert (one["digest"], one["recipe"], one["fingerprint"]) == (
        other["digest"],
        other["recipe"],
        other["fingerprint"],
    )
    merged(recipe, tmp_path / "out", "--overwrite", "--method", "ties", "--json")
    assert figures(tmp_path / "out")["record"]["methods"][0]["name"] == "ties", "the page is that of the new output"


def test_the_recipe_and_the_environment_can_switch_it_off(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(recipe, tmp_path / "set", "--set", "output.report=false")
    monkeypatch.setenv(VARIABLE, "0")
    merged(recipe, tmp_path / "environment")
    assert not list(tmp_path.glob("*-report"))
    merged(recipe, tmp_path / "asked", "--report", "--set", "output.report=false", "--quiet")
    assert (tmp_path / "asked-report" / "index.html").is_file()


def test_a_page_that_cannot_be_written_fails_nothing_and_overwrites_nothing(recipe: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "out-report"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    done = merged(recipe, tmp_path / "out", "--json")
    assert json.loads(done.stdout)["schema"] and "was not written" in done.stderr and "thesis.txt" in done.stderr
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    told = merged(recipe, tmp_path / "out", "--overwrite", "--log", "json")
    *_, published, page = map(json.loads, told.stderr.splitlines())
    assert (published["event"], page["event"]) == ("published", "page") and "thesis.txt" in page["problem"]
    (tmp_path / "file-report").write_text("a file")
    assert "not a folder" in merged(recipe, tmp_path / "file").output
    assert merged(recipe, tmp_path / "out", "--overwrite", "--quiet").output == ""


def test_of_stages_the_one_that_stays_has_a_page(recipe: Path, tmp_path: Path) -> None:
    one = json.loads(recipe.read_text())
    first = {**one, "name": "first"}
    last = {**one, "models": ["first", one["models"][0]], "heads": []}
    staged = tmp_path / "staged.yaml"
    staged.write_text("\n---\n".join(json.dumps(stage) for stage in (first, last)))
    merged(staged, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.glob("**/*-report")) == ["out-report"]
    assert [model["label"] for model in figures(tmp_path / "out")["models"]] == ["first", "task0"]
