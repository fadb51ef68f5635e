"""What changed between two runs: every kind of change is found, and two equal runs differ in nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.inspection.difference import difference
from tests.helpers import models
from tests.helpers.commands import invoke

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, list[Path]]:
    tensors = models.random_tensors(0)
    base = models.write_model(tmp_path / "base", tensors)
    return base, [models.write_model(tmp_path / f"task{seed}", models.tuned(tensors, seed)) for seed in (1, 2)]


def merged(inputs: tuple[Path, list[Path]], output: Path, **keys: object) -> Path:
    base, tuned = inputs
    mg.merge(base=base, models=tuned, output=output, workers=1, **{"method": "average", **keys})  # type: ignore[arg-type]
    return output


def test_two_runs_of_one_recipe_do_not_differ(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    one, other = merged(inputs, tmp_path / "one"), merged(inputs, tmp_path / "other")
    found = difference(one, other)
    assert (found.recipe, found.inputs, found.versions, found.tensors, found.notes) == ((), (), (), (), ())
    assert (found.same, found.distance) == (6, 0.0)
    assert "nothing differs" in invoke("diff", one, other).output


def test_recipe_inputs_and_tensors_that_changed_are_named(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    one = merged(inputs, tmp_path / "one")
    tensors = safetensors.torch.load_file(inputs[1][1] / "model.safetensors")
    tensors["layer.0.dense.weight"] += 1
    models.write_model(inputs[1][1], tensors)
    rule = {"match": "embed.*", "scale": 0.5}
    other = merged(inputs, tmp_path / "other", tensors=[rule])
    found = difference(one, other)
    assert ("tensors.0.scale", None, 0.5) in [(each.what, each.first, each.second) for each in found.recipe]
    assert [each.what for each in found.inputs] == ["task2"]
    assert {each.name: each.why for each in found.tensors} == {
        "embed.weight": "scale 1.0 and 0.5", "layer.0.dense.weight": "other values",
    }  # fmt: skip
    a, b = (safetensors.torch.load_file(folder / "model.safetensors") for folder in (one, other))
    for each in found.tensors:
        distance = (a[each.name] - b[each.name]).norm() / b[each.name].norm()
        assert each.distance == pytest.approx(float(distance), rel=1e-5)
    whole = [torch.cat([tensor.flatten() for tensor in own.values()]) for own in (a, b)]
    assert found.distance == pytest.approx(float((whole[0] - whole[1]).norm() / whole[1].norm()), rel=1e-5)
    done = invoke("diff", one, other)
    assert "scale 1.0 and 0.5" in done.output and "4 tensors the same, 2 not" in done.output
    assert json.loads(invoke("diff", one, other, "--json").stdout) == json.loads(json.dumps(found.to_json()))


def test_weights_that_are_gone_leave_the_hashes(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    one, other = merged(inputs, tmp_path / "one"), merged(inputs, tmp_path / "other", method="ties")
    (other / "model.safetensors").unlink()
    found = difference(one, other)
    assert found.distance is None and found.tensors and found.tensors[0].distance is None
    assert "cannot be compared" in found.notes[0]


def test_scores_of_two_comparisons(tmp_path: Path) -> None:
    boards = ("text-8-full", "text-8-full-seed-1")
    for name in boards:
        kept = json.loads((ROOT / "benchmarks" / "results" / "leaderboards" / f"{name}.json").read_text("utf-8"))
        (tmp_path / name).mkdir()
        (tmp_path / name / "comparison.json").write_text(json.dumps(kept["comparison"]))
    found = difference(*(tmp_path / name for name in boards))
    changed = {each.what: (each.first, each.second) for each in found.scores}
    first, second = changed["tsv_m: gain kept"]
    assert first == pytest.approx(0.65, abs=0.01) and second == pytest.approx(0.65, abs=0.01)
    assert "tsv_m: mean accuracy" in changed
    assert not difference(tmp_path / boards[0], tmp_path / boards[0]).scores
    done = invoke("diff", tmp_path / boards[0], tmp_path)
    assert done.exit_code == 1 and "one is a comparison and the other a merge" in done.output
    (tmp_path / boards[1] / "comparison.json").write_text("{}")
    done = invoke("diff", *(tmp_path / name for name in boards))
    assert done.exit_code == 1 and "the comparison cannot be read" in done.output
