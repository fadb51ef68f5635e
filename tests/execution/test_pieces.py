"""Merges by pieces of tensors larger than a chunk, against the same methods on whole tensors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import SourceError
from mergeometry.execution.read_ahead import ReadAhead
from mergeometry.execution.run import execute
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.write_behind import WriteBehind
from mergeometry.methods import registry
from mergeometry.methods.families.cost import CHUNK_ELEMENTS
from mergeometry.sources import TensorReader
from tests.helpers import models

SHAPES = {"wide.weight": (600, 701), "long.bias": (CHUNK_ELEMENTS + 3,), "one": (1,), "few.weight": (3, 5)}
"""More than a chunk of entries, in rows that end within pieces; and less than a piece."""

STREAMED: dict[str, dict[str, Any]] = {
    "average": {},
    "ties": {},
    "dare": {},
    "dare_ties": {},
    "breadcrumbs": {},
    "sce": {"select_topk": 0.3},
    "model_stock": {"filter_wise": True},
    "karcher": {},
    "ramplus_tl": {"epsilon": 0.01, "r": 0.5, "alpha": 1.0},
}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A base and three models in bfloat16, whose task vectors have many equal entries."""
    folder = tmp_path_factory.mktemp("family")
    return models.write_family(folder, count=3, dtype=torch.bfloat16, shapes=SHAPES)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks as they are of many models, so that tensors of a test have more than one."""
    monkeypatch.setattr("mergeometry.plan.reading.LARGEST_CHUNK", CHUNK_ELEMENTS)


@pytest.mark.parametrize("method", STREAMED)
def test_pieces_give_what_whole_tensors_give(family: dict[str, Any], tmp_path: Path, method: str) -> None:
    weights = [1.0, 0.5, 2.0]
    entries = [{"path": place, "name": str(n), "weight": weights[n]} for n, place in enumerate(family["models"])]
    recipe = {**family, "models": entries, "method": {"name": method, **STREAMED[method]}}
    routes = {task.route for task in mg.make_plan(recipe).tasks}
    assert routes == {"chunks"} if method == "average" else routes == {"passes"}
    mg.merge(recipe, tmp_path / "out")
    merged, base = models.loaded(tmp_path / "out"), models.loaded(Path(family["base"]))
    tuned = [models.loaded(Path(place)) for place in family["models"]]
    for name, weight in base.items():
        rule = registry.build(method, STREAMED[method]).for_tensor(0, name, ["0", "1", "2"])
        under = weight.float()
        deltas = [model[name].float() - under for model in tuned]
        delta = rule(deltas, weights, base=under) if rule.needs_base else rule(deltas, weights)
        assert torch.equal(merged[name], (under + torch.as_tensor(delta)).bfloat16()), name


@pytest.mark.parametrize("filter_wise", [False, True])
def test_a_sum_that_is_kept_gives_the_same_bytes(
    family: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filter_wise: bool
) -> None:
    recipe = {**family, "method": {"name": "model_stock", "filter_wise": filter_wise}}
    mg.merge(recipe, tmp_path / "kept")
    monkeypatch.setattr("mergeometry.execution.task_pieces.HELD_BYTES", 0)
    mg.merge(recipe, tmp_path / "again")
    files = [(tmp_path / place / "model.safetensors").read_bytes() for place in ("kept", "again")]
    assert files[0] == files[1]


@pytest.mark.parametrize("method", ["ties", "dare", "dare_ties", "breadcrumbs"])
def test_densities_may_differ_between_models(family: dict[str, Any], method: str) -> None:
    base = models.loaded(Path(family["base"]))["wide.weight"].float()
    deltas = [models.loaded(Path(place))["wide.weight"].float() - base for place in family["models"]]
    own = [registry.build(method, {"density": density}) for density in (0.2, 1.0, 0.5)]
    together = registry.build(method, {}).for_models(own)
    for place, one in enumerate(own):
        # The others are zero and vote for nothing, so that what is merged is the model's own part.
        alone = [delta if other == place else torch.zeros_like(delta) for other, delta in enumerate(deltas)]
        assert torch.equal(torch.as_tensor(together(alone)), torch.as_tensor(one(alone)))


def test_every_piece_is_read_once_and_hashed_once(family: dict[str, Any]) -> None:
    plan = mg.make_plan({**family, "method": "ties"})
    task = next(task for task in plan.tasks if task.name == "long.bias")
    with TensorReader() as reader:
        inputs = TaskReader(reader, ["0", "1", "2"])
        ahead = ReadAhead(inputs, reader, [("base", task.base)], 1 << 16)
        for _ in range(2):
            seen = torch.cat([piece.clone() for _, (piece,) in ahead])
            assert torch.equal(seen, reader.read(task.base))
        again = TaskReader(reader, ["0", "1", "2"])
        again.raw("base", task.base)
        assert inputs.digests == again.digests


def test_a_tensor_that_has_room_is_not_read_again(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=1, dtype=torch.bfloat16, shapes=SHAPES)
    task = next(task for task in mg.make_plan({**family, "method": "ties"}).tasks if task.name == "long.bias")
    with TensorReader() as reader:
        inputs, source = TaskReader(reader, ["0"]), [("base", task.base)]
        whole = ReadAhead(inputs, reader, source, 1 << 16, task.base.elements)
        part = ReadAhead(inputs, reader, source, 1 << 16)
        before = torch.cat([piece.clone() for _, (piece,) in whole])
        assert sum(len(piece) for _, (piece,) in part) == len(before)
        os.utime(task.base.file, ns=(0, 0))
        assert torch.equal(torch.cat([piece for _, (piece,) in whole]), before)
        with pytest.raises(SourceError, match="written to"):
            list(part)


@pytest.mark.parametrize("elements", [0, 5, 8, 21])
def test_chunks_are_written_in_order(elements: int) -> None:
    written: list[tuple[int, list[float]]] = []
    with WriteBehind(
        8, torch.float32, elements, lambda first, chunk: written.append((first, chunk.tolist()))
    ) as behind:
        for first in range(0, max(elements, 1), 4):
            count = min(4, elements - first)
            behind.room(count).copy_(torch.arange(first, first + count))
        behind.finish()
    assert [first for first, _ in written] == list(range(0, max(elements, 1), 8))
    assert [number for _, chunk in written for number in chunk] == list(range(elements))


def test_a_failure_while_writing_behind_is_raised() -> None:
    def fail(first: int, _: torch.Tensor) -> None:
        if first:
            raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"), WriteBehind(4, torch.float32, 40, fail) as behind:
        for _ in range(10):
            behind.room(4).zero_()
        behind.finish()


def test_a_failure_while_reading_ahead_names_file_and_tensor(family: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "cut"
    models.write_model(place, models.loaded(Path(family["models"][0])))
    plan = mg.make_plan({**family, "models": [str(place), *family["models"][1:]], "method": "ties"})
    file = place / "model.safetensors"
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size - 1000)
    with pytest.raises(mg.MergeometryError, match="the file had") as error:
        execute(plan, tmp_path / "out")
    assert "cut" in str(error.value)
    assert not (tmp_path / "out").exists()
