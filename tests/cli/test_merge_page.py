"""The page that `mergeometry merge` writes beside its output: when it does, and that it can spoil nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.cli.merge_page import VARIABLE
from mergeometry.errors import NumericalError
from mergeometry.execution import pool
from mergeometry.execution.compute import compute
from mergeometry.sink.page import remove_stale_page
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


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_no_page_of_an_earlier_output_stays_beside_a_new_one(recipe: Path, tmp_path: Path) -> None:
    page, out = tmp_path / "out-report", tmp_path / "out"
    merged(recipe, out)
    record = json.loads((out / "mergeometry.json").read_text())
    scores = {"measure": "accuracy", "tasks": {"a": 0.5}, "spread": {"a": 0.1}, "inputs": {"a": 4}, "mean": 0.5}
    kept = {"schema": 1, "digest": record["digest"], "tasks": "tasks.yaml", "evaluation": scores}
    (page / "evaluation.json").write_text(json.dumps(kept))
    merged(recipe, out, "--overwrite", "--no-report")
    assert len(names_in(page)) == 3, "the same merge: its page is still its own"
    merged(recipe, out, "--overwrite")
    assert figures(out)["evaluation"]["tasks"] == {"a": 0.5}, "the weights are those that were scored"
    merged(recipe, out, "--overwrite", "--no-report", "--scale", "0.5")
    assert not page.exists()
    merged(recipe, out, "--overwrite")
    (page / "notes.txt").write_text("mine")
    mg.merge({**json.loads(recipe.read_text()), "method": "ties"}, out, overwrite=True, workers=1)
    assert names_in(page) == ["notes.txt"], "in Python a merge writes no page, and leaves no earlier one"


def test_a_foreign_folder_of_this_name_stays_as_it_is(recipe: Path, tmp_path: Path) -> None:
    page = tmp_path / "out-report"
    page.mkdir()
    for name in ("index.html", "inspection.json", "evaluation.json"):
        (page / name).write_text("[]")
    merged(recipe, tmp_path / "out", "--no-report")
    merged(recipe, tmp_path / "out", "--no-report", "--overwrite", "--scale", "0.5")
    assert {(page / name).read_text() for name in names_in(page)} == {"[]"}


def test_an_earlier_page_that_cannot_be_removed_is_told(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(recipe, tmp_path / "out")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        problem = remove_stale_page(tmp_path / "out", "other", "other")
    assert problem is not None and "out-report" in problem and "Permission denied" in problem


def test_clean_leaves_the_page_of_an_output(recipe: Path, tmp_path: Path) -> None:
    merged(recipe, tmp_path / "out")
    assert invoke("clean", tmp_path / "out").exit_code == 0
    assert names_in(tmp_path / "out-report") == ["index.html", "inspection.json"]


def test_a_resumed_merge_has_a_page_of_all_its_tensors(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def fail_at_the_third(job: Any) -> Any:
        calls.append(job.task.name)
        if len(calls) == 3:
            raise NumericalError("made to fail", tensor=job.task.name)
        return compute(job)

    with monkeypatch.context() as patched:
        patched.setattr(pool, "compute", fail_at_the_third)
        failed = invoke("merge", recipe, "--output", tmp_path / "out", "--workers", "1")
    assert failed.exit_code != 0 and "made to fail" in failed.output and not (tmp_path / "out-report").exists()
    done = merged(recipe, tmp_path / "out", "--resume")
    assert "resuming: 2 tensors" in done.output
    found = figures(tmp_path / "out")
    assert found["left_out"] == 0 and len(found["record"]["tensors"]) > len(found["tensors"]) > 2
    assert found["output"]["digest"] == found["record"]["digest"]
