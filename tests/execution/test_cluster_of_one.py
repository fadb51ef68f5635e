"""The executor `ray` on this machine alone, as somebody tries it first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mergeometry as mg
from tests.helpers import learning_models, models
from tests.helpers.labelled_tasks import written


@pytest.mark.suite
def test_a_ray_of_our_own(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    recipe = {**models.write_family(tmp_path, 2), "method": "dc_merge", "scale": {"rule": "projection", "per": "model"}}
    mg.merge(recipe, tmp_path / "one", workers=1)
    mg.merge(recipe, tmp_path / "two", workers=2)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "mergeometry", "merge", str(tmp_path / "recipe.json"), "--output"]
    done = subprocess.run(
        [*command, str(tmp_path / "ray"), "--executor", "ray", "--address", "local", "--quiet", "--report"],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": "/tmp"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hashes = [models.weight_hashes(tmp_path / name) for name in ("one", "two", "ray")]
    assert hashes[0] == hashes[1] == hashes[2]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    page = json.loads((tmp_path / "ray-report" / "inspection.json").read_text("utf-8"))
    assert page["left_out"] == 0 and page["output"]["digest"] == page["record"]["digest"]
    here = mg.Run.read(tmp_path / "one").report(workers=1).to_json()
    assert page["totals"] == here["totals"], "the page of a merge on a cluster is that of the same merge here"


RUNS = """
import json, sys
import mergeometry as mg
if __name__ == "__main__":
    with mg.Ray("local").opened() as there:
        for recipe, output in json.loads(sys.argv[1]):
            mg.merge(recipe, output, executor=there, device="cpu")
"""


@pytest.mark.suite
def test_models_are_run_and_learned_by_its_workers(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("transformers")
    family = learning_models.family(tmp_path / "family", count=12)
    data = {"tasks": {task["name"]: task["data"] for task in family["adapt"]["tasks"]}}
    settings = {"objective": "distill", "steps": 2, "batch_size": 4, "learning_rate": 0.02}
    inputs = {key: family[key] for key in ("base", "models")}
    tasks = str(written(tmp_path / "family", family) / "tasks.yaml")
    recipes = {
        "moments": {**inputs, "method": "regmean", "data": data},
        "learned": learning_models.with_settings(family, settings, method={"name": "tsv_m", "rank": 2}),
        "residuals": {**inputs, "method": "tsv_m", "output": {"residuals": {"rank": 1}}},
        "searched": {**inputs, "method": "tsv_m", "scale": {"values": [0.4, 1.6], "tasks": tasks}},
    }
    for name, recipe in recipes.items():
        mg.merge(recipe, tmp_path / "here" / name, workers=1, device="cpu")
    (tmp_path / "script.py").write_text(RUNS)
    runs = json.dumps([(recipe, str(tmp_path / "ray" / name)) for name, recipe in recipes.items()])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), runs],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": "/tmp"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in recipes:
        hashes = [models.file_hashes(tmp_path / where / name) for where in ("here", "ray")]
        assert {key for key in hashes[0] if hashes[0][key] != hashes[1][key]} <= {"mergeometry.json"}
        assert not [path for path in (tmp_path / "ray").iterdir() if path.name.startswith(".") and path.is_file()]
