"""What became of every model in a merge: measured where the weights are there, else told from the record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.inspection.after import report_on
from tests.helpers import diagnostics_reference as reference
from tests.helpers import models
from tests.helpers.commands import invoke

SHAPES = {"encoder.layer.0.q.weight": (12, 8), "encoder.layer.1.q.weight": (8, 12), "encoder.norm.weight": (8,)}


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, list[Path]]:
    tensors = models.random_tensors(0, shapes=SHAPES)
    base = models.write_model(tmp_path / "base", tensors)
    return base, [models.write_model(tmp_path / f"task{seed}", models.tuned(tensors, seed)) for seed in (1, 2)]


def taus(inputs: tuple[Path, list[Path]], output: Path, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    base, tuned = inputs
    origin, *others = (
        safetensors.torch.load_file(folder / "model.safetensors")[name].double().numpy()
        for folder in (base, output, *tuned)
    )
    merged, *own = (other - origin for other in others)
    return merged, own


def test_the_figures_of_a_merge(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, tuned = inputs
    mg.merge(base=base, models=tuned, method="tsv_m", output=tmp_path / "out", workers=1)
    found = report_on(tmp_path / "out", workers=1)
    assert found.output is not None and found.record is not None
    assert [model.label for model in found.models] == ["task1", "task2"]
    for one in found.tensors:
        merged, own = taus(inputs, tmp_path / "out", one.name)
        assert one.merged is not None
        assert one.merged.norm == pytest.approx(np.linalg.norm(merged), rel=1e-4)
        held = [(merged * tau).sum() / (tau**2).sum() for tau in own]
        assert one.merged.share_held == pytest.approx(held, rel=1e-3)
        if one.matrix is None:
            continue
        assert one.merged.alignment == pytest.approx([reference.alignment(merged, tau) for tau in own], rel=1e-3)
        assert one.merged.consistency == pytest.approx([reference.consistency(merged, tau, 4) for tau in own], rel=1e-3)
        assert one.merged.deviation == pytest.approx(reference.deviation(merged, own, 4), rel=1e-3)
        assert one.merged.residual == pytest.approx(reference.residual(merged, own, 4), abs=1e-4)
    assert any("merged model holds" in sentence.text for sentence in found.verdict)


def test_a_sum_of_copies_counts_them_twice_and_says_so(tmp_path: Path) -> None:
    tensors = models.random_tensors(0, shapes=SHAPES)
    base = models.write_model(tmp_path / "base", tensors)
    tuned = [models.write_model(tmp_path / name, models.tuned(tensors, 1)) for name in ("one", "two")]
    run = mg.merge(base=base, models=tuned, method="task_arithmetic", output=tmp_path / "out", workers=1)
    found = run.report(workers=1)
    assert [own.share_held for own in found.totals.models] == pytest.approx([2, 2], rel=1e-3)
    assert any("holds 2.0 times what its models ask for" in sentence.text for sentence in found.verdict)
    assert "held in the merge" in found._repr_html_()


def test_an_adapter_of_adapters_is_reported_on(tmp_path: Path) -> None:
    tensors = models.random_tensors(0, shapes=SHAPES)
    base = models.write_model(tmp_path / "base", tensors)
    modules = {"encoder.layer.0.q": (12, 8)}
    tuned = [models.write_adapter(tmp_path / f"a{seed}", models.random_factors(seed, modules)) for seed in (1, 2)]
    recipe = {"base": str(base), "models": list(map(str, tuned)), "method": "task_arithmetic"}
    run = mg.merge({**recipe, "output": {"adapter": True}}, tmp_path / "out", workers=1)
    found = run.report(workers=1)
    assert [one.name for one in found.tensors] == ["encoder.layer.0.q.weight"]
    assert found.output is not None and found.output.kind == "adapter"
    held = found.tensors[0].merged
    assert held is not None and all(share > 0.5 for share in held.share_held)


def test_inputs_that_are_gone_leave_the_record(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, tuned = inputs
    mg.merge(base=base, models=tuned, method="tsv_m", output=tmp_path / "out", workers=1)
    shutil.rmtree(tuned[0])
    done = invoke("report", tmp_path / "out", "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "This page stands on the run record" in done.output and "task1" in done.output
    assert "0 tensors" not in done.output and "moved" not in done.output, "no table of nothing"
    page = (tmp_path / "out-report" / "index.html").read_text("utf-8")
    figures = json.loads((tmp_path / "out-report" / "inspection.json").read_text("utf-8"))
    assert figures["tensors"] == [] and len(figures["models"]) == 2
    assert figures["record"]["digest"] in page and "tsv_m" in page


def test_an_output_that_changed_since_is_told(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, tuned = inputs
    mg.merge(base=base, models=tuned, method="tsv_m", output=tmp_path / "out", workers=1)
    assert not [one for one in report_on(tmp_path / "out", workers=1).verdict if "changed since" in one.text]
    weights = tmp_path / "out" / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    tensors["encoder.norm.weight"] += 1
    safetensors.torch.save_file(tensors, weights)
    (said,) = (one for one in report_on(tmp_path / "out", workers=1).verdict if "changed since" in one.text)
    assert said.level == "warning" and "'encoder.norm.weight'" in said.text


def test_a_record_of_another_version_is_used_as_far_as_it_goes(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, tuned = inputs
    mg.merge(base=base, models=tuned, method="tsv_m", output=tmp_path / "out", workers=1)
    place = tmp_path / "out" / "mergeometry.json"
    record = json.loads(place.read_text("utf-8"))
    place.write_text(json.dumps({**record, "schema": 99, "tensors": "elsewhere"}))
    found = report_on(tmp_path / "out", workers=1)
    assert found.record is None and len(found.tensors) == 3
    assert "schema 99" in found.verdict[0].text
    place.write_text(json.dumps({"schema": 99, "recipe": ["what?"]}))
    found = report_on(tmp_path / "out", workers=1)
    assert found.tensors == () and "its recipe cannot be read" in found.verdict[1].text
    assert found.to_json()["models"] == []
    place.write_text("no record")
    done = invoke("report", tmp_path / "out", "--output", tmp_path / "page")
    assert done.exit_code == 1 and not (tmp_path / "page").exists()


def test_a_run_is_its_record_and_knows_its_output(inputs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, tuned = inputs
    run = mg.merge(base=base, models=tuned, method="average", output=tmp_path / "out", workers=1)
    assert run.output == tmp_path / "out"
    assert mg.Run.read(tmp_path / "out") == run
    written = json.loads((tmp_path / "out" / "mergeometry.json").read_text("utf-8"))
    assert json.loads(json.dumps(run.to_json())) == written
    assert torch.is_tensor(safetensors.torch.load_file(run.output / "model.safetensors")["encoder.norm.weight"])


@pytest.mark.suite
def test_stacks_of_layers_and_vocabularies_that_differ_are_reported_on(tmp_path: Path) -> None:
    from tests.helpers.tiny import moved, tiny
    from tests.helpers.vocabularies import bpe, fine_tuned, model_of, saved

    def stacked(name: str) -> dict[str, object]:
        place = str(tmp_path / name)
        return {"stack": [{"path": place, "layers": [0, 2]}, {"path": place, "layers": [1, 2]}], "name": name}

    tiny("llama").save_pretrained(tmp_path / "base")
    for seed in (1, 2):
        moved(tiny("llama"), seed, 0.003).save_pretrained(tmp_path / f"task{seed}")
    recipe = {"base": {"stack": stacked("base")["stack"]}, "models": [stacked("task1"), stacked("task2")]}
    found = mg.merge({**recipe, "method": "average"}, tmp_path / "longer", workers=1).report(workers=1)
    assert [layer.layer for layer in found.totals.layers] == [0, 1, 2]
    assert [own.share_held for own in found.totals.models] == pytest.approx([0.5, 0.5], abs=0.02)

    tokenizer = bpe()
    live = model_of("llama", tokenizer)
    saved(tmp_path / "bare", live, tokenizer)
    for name, token in (("first", "<|turn|>"), ("second", "<|tool|>")):
        saved(tmp_path / name, *fine_tuned(live, tokenizer, [token], 1 + (name == "second")))
    recipe = {"base": str(tmp_path / "bare"), "models": [str(tmp_path / name) for name in ("first", "second")]}
    run = mg.merge({**recipe, "method": "average", "tokenizer": "union"}, tmp_path / "out", workers=1)
    found = run.report(workers=1)
    assert "model.embed_tokens.weight" in {one.name for one in found.tensors}
    assert [own.share_held for own in found.totals.models] == pytest.approx([0.5, 0.5], abs=0.05)
