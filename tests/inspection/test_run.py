"""The figures of whole models: what files hold, measured tensor by tensor, each input read once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mergeometry as mg
from mergeometry.inspection import pieces
from mergeometry.inspection.cost import measure_cost
from mergeometry.inspection.measure import measured
from mergeometry.inspection.result import Inspection
from mergeometry.inspection.run import inspect_plan, measure_jobs
from mergeometry.sources import TensorInfo, TensorReader
from tests.helpers import diagnostics_reference as reference
from tests.helpers import models

FineTunes = tuple[Path, list[Path]]


def inspected(base: Path, tuned: list[Path], **keys: object) -> Inspection:
    return inspect_plan(mg.make_plan(base=base, models=tuned, method="tsv_m", **keys), workers=1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def inspection(fine_tunes: FineTunes) -> Inspection:
    return inspected(*fine_tunes)


def taus_of(fine_tunes: FineTunes, name: str) -> list[np.ndarray]:
    base, tuned = fine_tunes
    origin = load_file(base / "model.safetensors")[name].double()
    return [(load_file(place / "model.safetensors")[name].double() - origin).numpy() for place in tuned]


def test_the_figures_of_a_matrix(fine_tunes: FineTunes, inspection: Inspection) -> None:
    name = "bert.encoder.layer.1.attention.self.query.weight"
    (found,) = (one for one in inspection.tensors if one.name == name)
    taus = taus_of(fine_tunes, name)
    assert (found.tower, found.layer, found.module) == ("bert.encoder.layer", 1, "attention.self.query")
    assert found.norm == pytest.approx([np.linalg.norm(tau) for tau in taus], rel=1e-5)
    assert found.conflict == pytest.approx([reference.conflict_of_pair(*taus)], rel=1e-4)
    assert found.outvoted == pytest.approx(reference.conflict(taus), rel=1e-4)
    matrix = found.matrix
    assert matrix is not None and matrix.rank == (16, 16)
    assert matrix.effective_rank == pytest.approx([reference.effective_rank(tau) for tau in taus], rel=1e-4)
    assert matrix.energy_ranks == (1, 2, 4, 8, 16, 32)
    kept = reference.energy_kept(taus[0])
    assert matrix.energy_kept[0] == pytest.approx([kept[rank - 1] for rank in matrix.energy_ranks], rel=1e-4)
    size = sum(reference.triplets(tau, 16)[1].sum() for tau in taus)
    assert matrix.interference == pytest.approx(reference.interference(taus, 16) / size, rel=1e-4)
    assert matrix.pair_interference == pytest.approx([matrix.interference])


def test_a_table_is_measured_in_pieces_as_in_one(
    fine_tunes: FineTunes, inspection: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 100)
    again = inspected(*fine_tunes)
    for name in ("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.LayerNorm.bias"):
        one, other = (next(each for each in found.tensors if each.name == name) for found in (inspection, again))
        assert one.cosine == pytest.approx(other.cosine)
        assert one.outvoted == pytest.approx(other.outvoted)
        assert (one.rows_moved_by, one.rows_moved_alone) == (other.rows_moved_by, other.rows_moved_alone)
        taus = taus_of(fine_tunes, name)
        assert one.norm == pytest.approx([np.linalg.norm(tau) for tau in taus], rel=1e-5)


def test_the_figures_of_whole_models_are_those_of_all_tensors(fine_tunes: FineTunes, inspection: Inspection) -> None:
    base, tuned = fine_tunes
    origin = load_file(base / "model.safetensors")
    whole = [load_file(place / "model.safetensors") for place in tuned]
    parts = [[(own[name] - tensor).double().flatten() for name, tensor in origin.items()] for own in whole]
    taus = [torch.cat(part).numpy() for part in parts]
    norms = [np.linalg.norm(tau) for tau in taus]
    (pair,) = inspection.totals.pairs
    assert [own.norm for own in inspection.totals.models] == pytest.approx(norms, rel=1e-5)
    assert pair.cosine == pytest.approx(taus[0] @ taus[1] / norms[0] / norms[1], rel=1e-3)
    assert pair.conflict == pytest.approx(reference.conflict_of_pair(*taus), rel=1e-4)
    assert [layer.layer for layer in inspection.totals.layers] == [0, 1]
    assert sum(share for _, share in inspection.totals.modules) == pytest.approx(1)


class Counting:
    """Reads files, and counts the bytes of each tensor."""

    def __init__(self, reader: TensorReader) -> None:
        self._reader, self.read_bytes = reader, Counter[tuple[str, str]]()

    def read(self, info: TensorInfo) -> torch.Tensor:
        self.read_bytes[str(info.file), info.name] += info.nbytes
        return self._reader.read(info)

    def read_range(self, info: TensorInfo, first_element: int, last_element: int) -> torch.Tensor:
        self.read_bytes[str(info.file), info.name] += (last_element - first_element) * info.dtype.itemsize
        return self._reader.read_range(info, first_element, last_element)


def test_every_input_is_read_once(fine_tunes: FineTunes) -> None:
    base, tuned = fine_tunes
    plan = mg.make_plan(base=base, models=tuned, method="tsv_m")
    with TensorReader() as files:
        reader = Counting(files)
        for job in measure_jobs(plan, merged=False):
            measured(job, reader)
    sizes = {(str(info.file), info.name): info.nbytes for info in plan.infos()}
    assert set(reader.read_bytes.items()) <= set(sizes.items())
    assert len(reader.read_bytes) == len(measure_jobs(plan, merged=False)) * 3


@pytest.mark.suite
def test_workers_do_not_change_the_figures(fine_tunes: FineTunes, inspection: Inspection) -> None:
    base, tuned = fine_tunes
    found = inspect_plan(mg.make_plan(base=base, models=tuned, method="tsv_m"), workers=2)
    documents = [one.to_json() for one in (found, inspection)]
    for document in documents:
        for timed in (document, *document["tensors"]):
            del timed["seconds"]
    assert documents[0] == documents[1]


def test_an_adapter_is_measured_as_the_model_that_it_makes(tmp_path: Path) -> None:
    shapes = {"encoder.layer.0.q.weight": (12, 8), "encoder.layer.1.q.weight": (8, 12)}
    tensors = models.random_tensors(0, shapes=shapes)
    base = models.write_model(tmp_path / "base", tensors)
    modules = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
    adapters, whole = [], []
    for seed in (1, 2):
        factors = models.random_factors(seed, modules)
        adapters.append(models.write_adapter(tmp_path / f"adapter{seed}", factors))
        full = {f"{name}.weight": tensors[f"{name}.weight"] + 2.0 * up @ down for name, (down, up) in factors.items()}
        whole.append(models.write_model(tmp_path / f"full{seed}", full))
    thin, dense = inspected(base, adapters), inspected(base, whole)
    assert [model.kind for model in thin.models] == ["adapter", "adapter"]
    for one, other in zip(thin.tensors, dense.tensors, strict=True):
        assert one.matrix is not None and other.matrix is not None
        assert one.norm == pytest.approx(other.norm, rel=1e-4)
        assert one.cosine == pytest.approx(other.cosine, abs=1e-4)
        assert one.outvoted == pytest.approx(other.outvoted, rel=1e-3)
        assert one.along_base == pytest.approx(other.along_base, rel=1e-3)
        assert one.matrix.rank == (2, 2), "an adapter's own rank"
        assert one.matrix.effective_rank == pytest.approx(other.matrix.effective_rank, rel=1e-3)


def test_a_value_that_is_not_finite_is_told_and_the_rest_is_measured(tmp_path: Path) -> None:
    tensors = models.random_tensors(0)
    base = models.write_model(tmp_path / "base", tensors)
    broken = models.tuned(tensors, 1)
    broken["layer.0.dense.weight"][0, 0] = float("nan")
    found = inspected(base, [models.write_model(tmp_path / "broken", broken)])
    assert [problem.name for problem in found.problems] == ["layer.0.dense.weight"]
    assert "1 of 48 values are NaN" in found.problems[0].reason
    assert len(found.tensors) == 5
    assert found.verdict[0].level == "warning" and "layer.0.dense.weight" in found.verdict[0].text


def test_json_holds_no_number_that_json_lacks(inspection: Inspection) -> None:
    document = inspection.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    assert document["schema"] == 2 and document["calibrated"] is True


def test_the_estimate_of_memory_covers_what_is_held(fine_tunes: FineTunes) -> None:
    base, tuned = fine_tunes
    for job in measure_jobs(mg.make_plan(base=base, models=tuned, method="tsv_m"), merged=False):
        cost, task = measure_cost(job.task, merged=False), job.task
        held = task.base.nbytes + sum(source.nbytes for source in task.sources if isinstance(source, TensorInfo))
        assert cost.memory > held and cost.seconds > 0


def test_python_gives_the_figures_and_shows_and_saves_them(fine_tunes: FineTunes, tmp_path: Path) -> None:
    base, tuned = fine_tunes
    models_of = [{"path": str(tuned[0]), "name": "<b>\u202efirst</b>"}, {"path": str(tuned[1]), "name": "second"}]
    found = mg.inspect(base=base, models=models_of, workers=1)
    assert isinstance(found, mg.Inspection) and repr(found).startswith("Inspection(2 models, ")
    shown = found._repr_html_()
    assert "&lt;b&gt;\\u202efirst" in shown and "<b>" not in shown and "<script" not in shown
    page = found.save(tmp_path / "out")
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert json.loads((tmp_path / "out" / "inspection.json").read_text("utf-8")) == found.to_json()
    with pytest.raises(mg.MergeometryError, match="folder of an input"):
        found.save(base / "out")
