"""Tensors whose reading begins while the one before is merged."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import NumericalError
from mergeometry.execution import pool
from mergeometry.execution.begun import Begun, begin
from mergeometry.execution.compute import Job, Outcome, compute
from mergeometry.execution.run import execute
from tests.helpers import models

SHAPES = {f"layer.{number}.dense.weight": (600, 701) for number in range(3)} | {"layer.0.dense.bias": (600,)}


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return models.write_family(tmp_path_factory.mktemp("family"), count=2, dtype=request.param, shapes=SHAPES)


@pytest.mark.parametrize("method", ["average", "ties", "model_stock"])
@pytest.mark.parametrize("once", [True, False])
def test_the_outcomes_are_those_of_jobs_that_are_not_begun(
    family: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, once: bool
) -> None:
    begun: list[str] = []

    def told(job: Job) -> Begun | None:
        begun.append(job.task.name)
        return begin(job)

    monkeypatch.setattr("mergeometry.plan.reading.LARGEST_CHUNK", 1 << 17)
    monkeypatch.setattr("mergeometry.plan.reading.CHUNK_ELEMENTS", 1 << 17)
    if not once:
        monkeypatch.setattr("mergeometry.plan.reading.READ_ONCE_BYTES", 0)
    records = []
    for place, way in (("begun", told), ("alone", lambda job: None)):
        monkeypatch.setattr(pool, "begin", way)
        records.append(mg.merge({**family, "method": method}, tmp_path / place, workers=1))
    assert len(begun) == len(SHAPES) - 1, "all but the first"
    assert records[0].digest == records[1].digest
    assert [each.digest for each in records[0].inputs] == [each.digest for each in records[1].inputs]
    files = [(tmp_path / place / "model.safetensors").read_bytes() for place in ("begun", "alone")]
    assert files[0] == files[1]


def test_what_reading_raises_is_raised_in_its_turn(family: dict[str, Any], tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    models.write_model(changed, models.loaded(Path(family["models"][0])))
    plan = mg.make_plan({**family, "models": [str(changed), family["models"][1]], "method": "average"})
    merged: list[str] = []

    def spoil(task: Any) -> None:
        merged.append(task.name)
        os.utime(changed / "model.safetensors", ns=(0, 0))

    with pytest.raises(mg.MergeometryError, match="written to") as caught:
        execute(plan, tmp_path / "out", workers=1, progress=spoil)
    assert 1 <= len(merged) < len(SHAPES)
    assert "changed" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("begin")]


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2, shapes=SHAPES)
    weights = models.loaded(Path(family["models"][1]))
    weights["layer.1.dense.weight"][599, 700] = float("nan")
    models.write_model(Path(family["models"][1]), weights)
    for method in ("average", "ties"):
        with pytest.raises(NumericalError, match="1 of") as caught:
            mg.merge({**family, "method": method}, tmp_path / "out", workers=1)
        assert "layer.1.dense.weight" in str(caught.value)


def test_a_job_that_is_begun_can_be_left(family: dict[str, Any], tmp_path: Path) -> None:
    plan = mg.make_plan({**family, "method": "ties"})
    task = next(task for task in plan.tasks if task.name == "layer.0.dense.weight")
    job = Job(task, (plan.layout.slots[task.outputs[0].name],), tmp_path, ("0", "1"), "blake3")
    with closing(Begun(job)):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("begin")]
    (tmp_path / plan.layout.files[0].name).touch()
    one, other = Begun(job)(), compute(job)
    assert isinstance(one, Outcome)
    assert (one.read, one.written) == (other.read, other.written)
