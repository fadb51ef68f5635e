"""Merges leave how long they took on a machine, and later plans say their seconds by that."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.plan.paces import paces, remember
from tests.helpers import models
from tests.helpers.commands import invoke

WHOLE, PIECES = "layer.0.dense.weight", "layer.1.dense.weight"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
    shapes = {WHOLE: (40, 30), PIECES: (40, 30)}
    rule = {"match": PIECES, "method": "average"}
    return {**models.write_family(tmp_path, 2, shapes=shapes), "method": "tsv_m", "tensors": [rule]}


def test_a_plan_says_the_seconds_that_earlier_merges_took(recipe: dict[str, Any], tmp_path: Path) -> None:
    plan = mg.make_plan(recipe)
    by_name = {task.name: task for task in plan.tasks}
    expected = plan.seconds(1)
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    assert "earlier merges" not in invoke("plan", file).output
    # Seconds so few say nothing of the machine.
    remember(plan, {WHOLE: 7 * by_name[WHOLE].cost.seconds, PIECES: 1.0})
    assert not paces()
    taken = 10.0
    remember(plan, {WHOLE: taken, PIECES: 1.0})
    ratio = min(50.0, taken / by_name[WHOLE].cost.seconds)
    assert paces() == {"whole": pytest.approx(ratio)}
    assert not paces("cuda")
    told = json.loads(invoke("plan", file, "--json").stdout)
    assert told["seconds"] == pytest.approx(expected + (ratio - 1) * by_name[WHOLE].cost.seconds)
    assert told["paces"] == {"whole": pytest.approx(ratio)}
    assert "earlier merges on this machine" in invoke("plan", file).output
    assert plan.seconds(1) == expected


def test_the_next_merge_counts_twice_as_much_as_the_one_before(recipe: dict[str, Any]) -> None:
    plan = mg.make_plan({**recipe, "tensors": []})
    planned = sum(task.cost.seconds for task in plan.tasks)
    for seconds in (8.0, 16.0):
        remember(plan, {task.name: seconds / 2 for task in plan.tasks})
    kept = json.loads((Path(_cache()) / "paces.json").read_text())
    ((found,),) = [list(routes.values()) for routes in kept.values()]
    assert found == {"planned": pytest.approx(1.5 * planned), "taken": pytest.approx(0.5 * 8 + 16)}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', "\x00", "[" * 100_000])
def test_a_damaged_cache_is_none(recipe: dict[str, Any], content: str) -> None:
    place = Path(_cache())
    place.mkdir()
    (place / "paces.json").write_text(content)
    assert not paces()
    remember(mg.make_plan(recipe), {WHOLE: 10.0})
    assert set(paces()) == {"whole"}
    kept = json.loads((place / "paces.json").read_text())
    identity = next(key for key in kept if "torch" in key)
    for wrong in (None, 3, {"planned": 0, "taken": 1}, {"planned": "x"}, {"planned": 1, "taken": "nan"}):
        (place / "paces.json").write_text(json.dumps({identity: {"whole": wrong}}))
        assert not paces()
        remember(mg.make_plan(recipe), {WHOLE: 10.0})
    assert set(paces()) == {"whole"}


def test_a_cache_that_cannot_be_written_is_survived(recipe: dict[str, Any]) -> None:
    Path(_cache()).write_text("a file, where a folder should be")
    remember(mg.make_plan(recipe), {WHOLE: 10.0})
    assert not paces()


def _cache() -> str:
    return os.environ["MERGEOMETRY_CACHE"]
