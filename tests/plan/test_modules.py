"""sentence-transformers folders: modules with weights merge, and modules that differ are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, NumericalError, SourceError
from tests.helpers.sentence_models import DENSE, POOLING, embeddings, write_sentence_model

FIRST = {**POOLING, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
RELU = "torch.nn.modules.activation.ReLU"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sentences")
    for seed, name in enumerate(("base", "first", "second")):
        write_sentence_model(folder / name, seed)
    return folder


def recipe(family: Path, **keys: Any) -> mg.Recipe:
    given = {"models": [str(family / "first"), str(family / "second")], "method": "average"}
    return mg.load_recipe({"base": str(family / "base"), **given, **keys})


def test_the_output_embeds_as_the_average_of_its_inputs(family: Path, tmp_path: Path) -> None:
    record = mg.merge(recipe(family), tmp_path / "merged")
    dense = safetensors.torch.load_file(tmp_path / "merged" / "2_Dense" / "model.safetensors")
    own = [safetensors.torch.load_file(family / name / "2_Dense" / "model.safetensors") for name in ("first", "second")]
    assert dense.keys() == {"linear.weight", "linear.bias"}
    for name, tensor in dense.items():
        torch.testing.assert_close(tensor, (own[0][name] + own[1][name]) / 2)
    # The same average made by hand, in the same folder.
    by_hand = tmp_path / "by-hand"
    shutil.copytree(family / "base", by_hand)
    safetensors.torch.save_file(dense, by_hand / "2_Dense" / "model.safetensors")
    encoders = [safetensors.torch.load_file(family / name / "model.safetensors") for name in ("first", "second")]
    average = {name: (encoders[0][name] + encoders[1][name]) / 2 for name in encoders[0]}
    safetensors.torch.save_file(average, by_hand / "model.safetensors", metadata={"format": "pt"})
    torch.testing.assert_close(embeddings(tmp_path / "merged"), embeddings(by_hand))
    assert {"2_Dense/linear.weight", "2_Dense/linear.bias"} <= {tensor.name for tensor in record.tensors}


def test_an_encoder_in_its_own_folder_stays_there(family: Path, tmp_path: Path) -> None:
    base = write_sentence_model(tmp_path / "base", 0, encoder="0_Transformer")
    mg.merge(recipe(family, base=str(base), output={"shard_size": "1MB"}), tmp_path / "merged")
    assert (tmp_path / "merged" / "0_Transformer" / "model.safetensors").is_file()
    assert not (tmp_path / "merged" / "model.safetensors").exists()
    mg.merge(recipe(family), tmp_path / "flat")
    assert torch.equal(embeddings(tmp_path / "merged"), embeddings(tmp_path / "flat"))


def test_a_value_that_is_not_finite_in_a_module_is_named(family: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(family / "first", tmp_path / "broken"))
    dense = safetensors.torch.load_file(broken / "2_Dense" / "model.safetensors")
    dense["linear.bias"][0] = float("nan")
    safetensors.torch.save_file(dense, broken / "2_Dense" / "model.safetensors")
    with pytest.raises(NumericalError, match="NaN or infinite") as caught:
        mg.merge(recipe(family, models=[str(broken), str(family / "second")]), tmp_path / "merged")
    assert (caught.value.model, caught.value.tensor) == ("broken", "2_Dense/linear.bias")
    assert not (tmp_path / "merged").exists()


def test_resuming_keeps_the_files_of_every_module(family: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from mergeometry.execution import run

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_metadata", stop)
        with pytest.raises(mg.MergeometryError, match="interrupted"):
            mg.merge(recipe(family), tmp_path / "merged")
    mg.merge(recipe(family), tmp_path / "merged", resume=True)
    mg.merge(recipe(family), tmp_path / "whole")
    for name in ("model.safetensors", "2_Dense/model.safetensors"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pooling": FIRST}, "Pooling has pooling_mode"),
        ({"normalise": False}, "it embeds by Transformer, Pooling, Dense, the base"),
        ({"dense": {**DENSE, "activation_function": RELU}}, "Dense has activation_function"),
    ],
)
def test_modules_that_differ_are_refused_with_the_choices(
    family: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    other = write_sentence_model(tmp_path / "other", 7, **changes)
    with pytest.raises(MismatchError, match=words) as caught:
        mg.make_plan(recipe(family, models=[str(other)]))
    assert "`config: base` or `config: other`" in str(caught.value)
    plan = mg.make_plan(recipe(family, models=[str(other)], config="base"))
    assert any(words in note and "the output gets the base's" in note for note in plan.notes)
    mg.merge(recipe(family, models=[str(other)], config="other"), tmp_path / "merged")
    torch.testing.assert_close(embeddings(tmp_path / "merged"), embeddings(other))


def test_a_module_that_only_a_model_has_is_named(family: Path, tmp_path: Path) -> None:
    base = write_sentence_model(tmp_path / "base", 0, dense=None)
    with pytest.raises(MismatchError, match="its module Dense is not in the base") as caught:
        mg.make_plan(recipe(family, base=str(base)))
    assert any("2_Dense/linear.weight" in reason for reason in caught.value.mismatches)
    with pytest.raises(MismatchError, match="'2_Dense' with weights is in that model only"):
        mg.make_plan(recipe(family, base=str(base), config="first", heads=["2_Dense/*"]))


def test_settings_of_other_versions_are_the_same(family: Path, tmp_path: Path) -> None:
    newer = {"embedding_dimension": 16, "pooling_mode": "mean", "include_prompt": True}
    other = write_sentence_model(tmp_path / "other", 7, pooling=newer)
    assert mg.make_plan(recipe(family, models=[str(other)])).tasks


def test_a_module_whose_weights_are_only_a_pickle_is_refused(family: Path, tmp_path: Path) -> None:
    other = write_sentence_model(tmp_path / "other", 7)
    (other / "2_Dense" / "model.safetensors").rename(other / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(SourceError, match="pickled weights only") as caught:
        mg.make_plan(recipe(family, models=[str(other)]))
    assert caught.value.file and caught.value.file.endswith("2_Dense")


def test_modules_of_modules_are_refused(family: Path, tmp_path: Path) -> None:
    other = write_sentence_model(tmp_path / "other", 7)
    modules = json.loads((other / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.Router"
    (other / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(MismatchError, match="Router of further modules"):
        mg.make_plan(recipe(family, models=[str(other)]))


def test_a_static_embedding_merges_without_an_encoder(tmp_path: Path) -> None:
    for seed, name in enumerate(("base", "first", "second")):
        place = tmp_path / name / "0_StaticEmbedding"
        place.mkdir(parents=True)
        torch.manual_seed(seed)
        safetensors.torch.save_file({"embedding.weight": torch.randn(9, 4)}, place / "model.safetensors")
        (place / "tokenizer.json").write_text('{"model": {}}')
        listed = [{"path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}]
        (tmp_path / name / "modules.json").write_text(json.dumps(listed))
    mg.merge(recipe(tmp_path), tmp_path / "merged")
    own = [
        safetensors.torch.load_file(tmp_path / name / "0_StaticEmbedding" / "model.safetensors")["embedding.weight"]
        for name in ("first", "second", "merged")
    ]
    torch.testing.assert_close(own[2], (own[0] + own[1]) / 2)
    assert (tmp_path / "merged" / "0_StaticEmbedding" / "tokenizer.json").is_file()
