"""A page that is written during a merge measures what a little time allows, and says what it left out."""

from __future__ import annotations

import pytest

import mergeometry as mg
from mergeometry.inspection.after import report_on
from mergeometry.inspection.budget import SECONDS, Budget
from mergeometry.inspection.cost import measure_cost
from mergeometry.inspection.run import measure_jobs
from tests.helpers import models

SHAPES = {f"encoder.layer.{layer}.{part}.weight": (12, 8) for layer in range(6) for part in "qv"} | {
    "encoder.norm.weight": (8,)
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mg.Run:
    folder = tmp_path_factory.mktemp("merge")
    tensors = models.random_tensors(0, shapes=SHAPES)
    base = models.write_model(folder / "base", tensors)
    tuned = [models.write_model(folder / f"task{seed}", models.tuned(tensors, seed)) for seed in (1, 2)]
    return mg.merge(base=base, models=tuned, method="average", output=folder / "out", workers=1)


def test_matrices_are_measured_first_and_spread_over_the_layers(run: mg.Run) -> None:
    together = {**run.recipe, "models": [*run.recipe["models"], str(run.output)]}
    jobs = measure_jobs(mg.make_plan(together), merged=True)
    each = next(measure_cost(job.task, merged=True).seconds for job in jobs if job.task.kind == "matrix")
    found = report_on(run.output, workers=1, budget=Budget(5.5 * each, 1 << 40))
    layers = sorted(one.layer for one in found.tensors if one.layer is not None)
    assert (len(found.tensors), found.left_out) == (6, 7), "what is left after five matrices is enough for a vector"
    assert sum(one.matrix is not None for one in found.tensors) == 5 and layers[-1] - layers[0] >= 3
    assert "6 of 13 tensors were measured" in found.verdict[0].text
    assert found.models[0].digest == run.inputs[1].digest, "that of all its tensors"
    assert not [one for one in found.verdict if "changed since" in one.text]


def test_without_time_or_memory_the_page_stands_on_the_record(run: mg.Run) -> None:
    for budget in (Budget(0.0, 1 << 40), Budget(1e9, 1)):
        found = report_on(run.output, workers=1, budget=budget)
        assert (found.tensors, found.left_out) == ((), 13) and found.record is not None
        assert "None of 13 tensors was measured" in found.verdict[0].text
        assert str(run.output) in found.verdict[0].text and len(found.models) == 2
    assert Budget.after(run).seconds == SECONDS
    whole = report_on(run.output, workers=1, budget=Budget.after(run))
    assert whole.left_out == 0 and len(whole.tensors) == 13
