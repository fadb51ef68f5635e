"""A search by Optuna: never worse than the recipe as it is written, the same in one sitting or two, checked first."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import MergeometryError, MismatchError, RecipeError
from mergeometry.execution.known_directions import LEAST_SIDE
from mergeometry.sink import read_record
from mergeometry.sink.target import search_folder
from tests.helpers import learning_models
from tests.helpers.commands import invoke
from tests.helpers.labelled_tasks import written

SPANS = {"weights": [0.2, 2.0], "scale": {"range": [0.1, 3.0], "layers": 2}, "options": {"density": [0.1, 0.9]}}


@pytest.fixture(scope="module")
def recipe(family: Path) -> dict[str, Any]:
    given = json.loads((family / "recipe.yaml").read_text())
    search = {"tasks": str(family / "tasks.yaml"), "trials": 6, **SPANS}
    return {**given, "method": {"name": "ties", "density": 0.3}, "scale": "auto", "search": search}


@pytest.fixture(scope="module")
def found(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[mg.Run, Path]:
    output = tmp_path_factory.mktemp("found") / "out"
    return mg.merge(recipe, output, workers=1), output


@pytest.mark.suite
def test_the_first_trial_is_the_recipe_as_written_and_the_best_is_what_is_written(
    recipe: dict[str, Any], found: tuple[mg.Run, Path], family: Path, tmp_path: Path
) -> None:
    run, output = found
    search = run.search
    assert search is not None and len(search["trials"]) == 6
    scores = [trial["score"] for trial in search["trials"]]
    assert scores[search["chosen"]] == max(scores) >= scores[0] and len(set(scores)) > 1
    as_written = {key: value for key, value in recipe.items() if key != "search"}
    start = mg.merge(as_written, tmp_path / "start", workers=1)
    assert start.scaling is not None
    assert search["trials"][0]["values"]["scale.0"] == pytest.approx(start.scaling["median"])
    # What is written scores as its trial did: on validation inputs, which chose it, and on test inputs.
    tasks = json.loads((family / "tasks.yaml").read_text())
    for task in tasks["tasks"]:
        task |= {key: str(family / task[key]) for key in ("validation", "test") if key in task}
    turned = {**tasks, "tasks": [{**task, "test": task["validation"]} for task in tasks["tasks"]]}
    assert mg.evaluate(output, turned).mean == pytest.approx(max(scores))
    assert mg.evaluate(tmp_path / "start", turned).mean == pytest.approx(scores[0])
    assert mg.evaluate(output, tasks).mean == pytest.approx(search["test"]["chosen"])
    assert mg.evaluate(tmp_path / "start", tasks).mean == pytest.approx(search["test"]["start"])
    # The recipe in the record is one that anybody can merge again.
    again = {key: value for key, value in run.recipe.items() if key != "output"}
    assert mg.merge(again, tmp_path / "again", workers=1).digest == run.digest


@pytest.mark.suite
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(
    recipe: dict[str, Any], found: tuple[mg.Run, Path], tmp_path: Path
) -> None:
    from mergeometry.plan import make_plan
    from mergeometry.search.run import searched

    plan, seen = make_plan(mg.load_recipe(recipe)), 0

    def stop(text: str, done: int, total: int) -> None:
        nonlocal seen
        seen += text.startswith("trial")
        if seen == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), searched(plan, tmp_path / "out", workers=1, say=stop):
        pass
    assert search_folder(tmp_path / "out").is_dir() and not (tmp_path / "out").exists()
    later = mg.merge(recipe, tmp_path / "out", workers=1, resume=True)
    assert later.search is not None and found[0].search is not None
    assert later.search["trials"] == found[0].search["trials"] and later.digest == found[0].digest
    assert not search_folder(tmp_path / "out").exists()


@pytest.mark.suite
def test_trials_leave_their_directions_for_the_merge_and_for_later_searches(tmp_path: Path) -> None:
    """With the same trials and bytes as without the folder."""
    written(tmp_path, learning_models.family(tmp_path, classes=(2, 2), count=8, width=LEAST_SIDE))
    search = {"tasks": str(tmp_path / "tasks.yaml"), "trials": 2, "scale": [0.1, 3.0]}
    given = {**json.loads((tmp_path / "recipe.yaml").read_text()), "method": "tsv_m", "search": search}
    plain, first, second = (
        mg.merge(given, tmp_path / name, workers=1, directions=known)
        for name, known in (("plain", None), ("first", tmp_path / "known"), ("second", tmp_path / "known"))
    )
    assert plain.digest == first.digest == second.digest
    assert plain.search is not None and first.search is not None and second.search is not None
    assert plain.search["trials"] == first.search["trials"] == second.search["trials"]
    for run in (first, second):
        assert run.decisions["directions"]["known"] == run.decisions["directions"]["asked"] > 0
    assert "directions" not in plain.decisions


@pytest.mark.suite
def test_the_recipe_as_written_is_kept_where_nothing_beats_it(recipe: dict[str, Any], tmp_path: Path) -> None:
    # Scales this small leave the base's predictions as they are, and all trials equal.
    search = {"tasks": recipe["search"]["tasks"], "trials": 2, "scale": [1e-6, 2e-6]}
    given = tmp_path / "recipe.yaml"
    given.write_text(json.dumps({**recipe, "scale": 1.5e-6, "search": search}))
    planned = json.loads(invoke("plan", given, "--json").stdout)["search"]
    assert planned["trials"] == 2 and planned["parameters"] == ["scale"]
    done = invoke("merge", given, "--output", tmp_path / "out", "--report")
    assert done.exit_code == 0, done.output
    assert "none of 2 trials beats the recipe as it is written" in " ".join(done.output.split())
    assert read_record(tmp_path / "out").recipe["scale"] == 1.5e-6
    assert "Validation score by trial" in (tmp_path / "out-report" / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"trials": 3}, "there is nothing to try"),
        ({"weights": [0, 1]}, "there is no budget"),
        ({"trials": 1, "weights": [0, 1]}, "greater than or equal to 2"),
        ({"trials": 3, "weights": [1, 0]}, "a range ends above where it begins"),
        ({"trials": 3, "scale": [0, 1]}, "scales are above 0"),
        ({"trials": 3, "wieghts": [0, 1]}, "unknown key 'search.wieghts'.*weights"),
    ],
)
def test_a_section_that_is_not_usable_is_refused(recipe: dict[str, Any], keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        mg.load_recipe({**recipe, "search": {"tasks": "t.yaml", **keys}})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scale": [0.5, 1.0]}, "the scale is not one number"),
        ({"scale": {"rule": "projection", "per": "tensor"}}, "rule per tensor"),
        ({"search": {"trials": 3, "scale": {"range": [0.1, 1], "layers": 5}}}, "2 numbered layers"),
        ({"search": {"trials": 3, "options": {"denisty": [0.1, 1]}}}, "did you mean 'density'"),
        ({"search": {"minutes": 1e-9, "weights": [0, 1]}}, "allowed no trial beside the recipe"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    recipe: dict[str, Any], changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    if "search" in changes:
        changes = {"search": {"tasks": recipe["search"]["tasks"], **changes["search"]}}
    with pytest.raises(RecipeError, match=reason):
        mg.merge({**recipe, **changes}, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_optuna_and_validation_labels_are_needed(
    recipe: dict[str, Any], family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = json.loads((family / "tasks.yaml").read_text())
    for task in tasks["tasks"]:
        del task["validation"]
    (family / "unlabelled.yaml").write_text(json.dumps(tasks))
    with pytest.raises(MismatchError, match="no `validation:` inputs"):
        mg.merge({**recipe, "search": {**recipe["search"], "tasks": str(family / "unlabelled.yaml")}}, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MergeometryError, match="needs Optuna, which is not installed"):
        mg.merge(recipe, tmp_path / "out")
