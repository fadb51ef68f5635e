"""A scale chosen from a grid: the same curve as a comparison's, and the same merge as at the chosen number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import MergeometryError, MismatchError, RecipeError
from mergeometry.execution.run import execute
from mergeometry.plan import make_plan
from mergeometry.sink import read_record
from mergeometry.sink.target import search_folder
from tests.helpers.commands import invoke

SCALES = [0.4, 1.0, 1.6, 2.0]


@pytest.fixture(scope="module")
def recipe(family: Path) -> dict[str, Any]:
    return json.loads((family / "recipe.yaml").read_text())


def test_the_command_says_what_was_chosen_and_draws_it(family: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    scale = json.dumps({"values": [0.5, 1.0, 2.0], "tasks": str(family / "tasks.yaml")})
    done = invoke("merge", family / "recipe.yaml", "--scale", scale, "--output", tmp_path / "out", "--report")
    assert done.exit_code == 0, done.output
    search = read_record(tmp_path / "out").search
    assert search is not None
    assert f"scale {search['scale']:g}, the best of 3 by accuracy on validation inputs" in done.output
    page = (tmp_path / "out-report" / "index.html").read_text("utf-8")
    assert "Validation score by scale" in page and "Chosen by validation" in page


def searched(recipe: dict[str, Any], output: Path, tasks: Path, **options: Any) -> mg.Run:
    return mg.merge({**recipe, "scale": {"values": SCALES, "tasks": str(tasks)}}, output, workers=1, **options)


def test_it_is_the_curve_of_a_comparison_and_the_merge_at_its_best(
    family: Path, recipe: dict[str, Any], tmp_path: Path
) -> None:
    run = searched(
        {**recipe, "tensors": [{"match": "*layer.0*", "scale": 0.25}]}, tmp_path / "one", family / "tasks.yaml"
    )
    search = run.search
    assert search is not None
    given = {**recipe, "tensors": [{"match": "*layer.0*", "scale": 0.25}]}
    row = mg.compare(
        given, "tsv_m", family / "tasks.yaml", output=tmp_path / "comparison", scales=SCALES, workers=1
    ).rows[0]
    assert search["validation"] == row.validation and len(set(row.validation.values())) > 1
    best = max(row.validation.values())
    chosen = min(float(scale) for scale, score in row.validation.items() if score == best)
    assert search["scale"] == run.recipe["scale"] == chosen
    assert mg.merge({**given, "scale": chosen}, tmp_path / "two", workers=1).digest == run.digest
    assert not search_folder(tmp_path / "one").exists()


def test_among_equals_the_smallest_change_is_taken(family: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    grid = {"grid": [0.001, 0.003, 0.001], "tasks": str(family / "tasks.yaml")}
    search = mg.merge({**recipe, "scale": grid}, tmp_path / "out", workers=1).search
    assert search is not None and search["scale"] == 0.001 and search["equal"] == [0.002, 0.003]


def test_an_interrupted_search_goes_on(family: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "out"
    given = {**recipe, "scale": {"values": SCALES, "tasks": str(family / "tasks.yaml")}}

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(MergeometryError, match="interrupted"):
        mg.merge(given, target, workers=1, progress=stop)
    kept = {path.name: path.stat().st_mtime_ns for path in search_folder(target).glob("*.json")}
    assert len(kept) == len(SCALES) + 1 and not target.exists()
    seen: dict[str, int] = {}

    def look(_: object) -> None:
        seen.update({path.name: path.stat().st_mtime_ns for path in search_folder(target).glob("*.json")})

    mg.merge(given, target, workers=1, resume=True, progress=look)
    assert seen == kept and target.exists() and not search_folder(target).exists()


def test_a_plan_says_what_it_takes_and_checks_the_tasks(family: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        json.dumps({**recipe, "scale": {"grid": [0.1, 3, 0.1], "tasks": "tasks.yaml"}})
    )
    tasks = json.loads((family / "tasks.yaml").read_text())
    for task in tasks["tasks"]:
        task["validation"] = str(family / task["validation"])
        del task["test"]
    (tmp_path / "tasks.yaml").write_text(json.dumps(tasks))
    search = json.loads(invoke("plan", tmp_path / "recipe.yaml", "--json").stdout)["search"]
    assert len(search["scales"]) == 30 and search["inputs"] == {"task0": 20, "task1": 20, "task2": 20}
    assert search["seconds"] > 0 and search["scratch_bytes"] > 0
    tasks["tasks"][0] |= {"name": "tesk0"}
    del tasks["tasks"][1]["validation"]
    tasks["tasks"][2]["head"] = "nowhere.safetensors"
    (tmp_path / "tasks.yaml").write_text(json.dumps(tasks))
    with pytest.raises(MismatchError) as refused:
        mg.merge(tmp_path / "recipe.yaml", tmp_path / "out")
    reasons = "\n".join(refused.value.mismatches)
    for reason in ("did you mean", "no `validation:` inputs to choose scales on", "nowhere.safetensors"):
        assert reason in reasons
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        ({"grid": [0.1, 3.0, 0.1]}, "'scale.tasks' is missing"),
        ({"tasks": "t.yaml"}, "either `grid: .first, last, step.` or `values"),
        ({"tasks": "t.yaml", "grid": [3.0, 0.1, 0.1]}, "the first scale is not below the last"),
        ({"tasks": "t.yaml", "grid": [0.001, 1000, 0.001]}, "scales are more than 200"),
        ({"tasks": "t.yaml", "grid": [0.1, 0.2, 0.5]}, "only one scale"),
        ({"tasks": "t.yaml", "values": [1.0, -1.0]}, "greater than or equal to 0.000001|1e-06"),
        ({"tasks": "t.yaml", "values": [1e-12, 1.0]}, "greater than or equal"),
        ({"tasks": "t.yaml", "grid": [0.1, 1000, 1e-320]}, "greater than or equal"),
        ({"tasks": "t.yaml", "grid": [0.1, 1000, 0]}, "greater than or equal"),
        ({"tasks": "t.yaml", "gird": [0.1, 3.0, 0.1]}, "unknown key 'scale.gird'.*grid"),
    ],
)
def test_a_grid_that_is_none_is_refused(recipe: dict[str, Any], scale: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        mg.load_recipe({**recipe, "scale": scale})


def test_a_plan_whose_scale_is_open_is_not_carried_out(recipe: dict[str, Any], tmp_path: Path) -> None:
    plan = make_plan(mg.load_recipe({**recipe, "scale": {"values": SCALES, "tasks": "t.yaml"}}))
    with pytest.raises(RecipeError, match="still to be chosen by validation"):
        execute(plan, tmp_path / "out")
