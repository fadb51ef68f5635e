"""Every file with weights in an input's folder is merged, passed over with a note, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, SourceError
from tests.helpers.models import MODULES, random_factors, write_adapter, write_family, write_model, write_shards


def planned(inputs: dict[str, Any]) -> mg.Plan:
    return mg.make_plan(mg.load_recipe({**inputs, "method": "average"}))


@pytest.mark.parametrize("place", ["base", "task0", "task2"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("value_head.safetensors", "the value head of reward training"),
        ("non_lora_trainables.bin", "trained weights besides the adapter"),
        ("second.pt", "weights of an unknown meaning"),
        ("reranker/adapter_model.safetensors", "the weights of an adapter"),
        ("deep/er/model.safetensors", "weights of an unknown meaning"),
    ],
)
def test_weights_that_a_merge_would_lose_are_refused_by_name(tmp_path: Path, place: str, name: str, words: str) -> None:
    inputs = write_family(tmp_path, adapters=1)
    file = tmp_path / place / name
    file.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({"x": torch.ones(1)}, file)
    with pytest.raises(MismatchError) as caught:
        planned(inputs)
    (reason,) = caught.value.mismatches
    assert reason.startswith(f"{place}: {name!r} holds {words}") and "merge a copy of the folder" in reason


def test_a_second_set_of_weights_is_refused(tmp_path: Path) -> None:
    inputs = write_family(tmp_path)
    write_shards(tmp_path / "task0" / "old", {"a": torch.ones(2), "b": torch.ones(2)}, 2)
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / "task0" / "old" / name).rename(tmp_path / "task0" / name)
    (tmp_path / "task0" / "old" / "model.safetensors.index.json").unlink()
    with pytest.raises(MismatchError) as caught:
        planned(inputs)
    assert len(caught.value.mismatches) == 2 and "model-00001-of-00002" in caught.value.mismatches[0]


def test_copies_and_states_of_training_are_passed_over_with_a_note(tmp_path: Path) -> None:
    inputs = write_family(tmp_path, adapters=1)
    for name in (
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "model.fp16.safetensors",
        "consolidated.safetensors",
    ):
        (tmp_path / "task0" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "task0" / name).touch()
    for name in ("optimizer.pt", "training_args.bin", "checkpoint-5/model.safetensors", "rng_state.pth"):
        (tmp_path / "base" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "base" / name).touch()
    (tmp_path / "task2" / "adapter_model.bin").touch()
    (tmp_path / "task1" / "heads").mkdir()
    notes = planned(inputs).notes
    assert (
        "base: checkpoint-5/, optimizer.pt, rng_state.pth, training_args.bin not read: the state of a training run"
        in notes
    )
    copies = "consolidated.safetensors, model.fp16.safetensors, onnx/, pytorch_model.bin, tf_model.h5"
    assert f"task0: {copies} not read: another copy of the weights" in notes
    assert "task1: heads/ not read: heads that are kept apart from their models" in notes
    assert "task2: adapter_model.bin not read: another copy of the weights" in notes


def test_a_value_head_is_never_taken_for_the_model(tmp_path: Path) -> None:
    inputs = write_family(tmp_path, count=1)
    (tmp_path / "task0" / "model.safetensors").rename(tmp_path / "task0" / "value_head.safetensors")
    (tmp_path / "task0" / "pytorch_model.bin").touch()
    with pytest.raises(SourceError, match="pickled weights only"):
        planned(inputs)


def test_folders_of_several_models_say_which_to_give(tmp_path: Path) -> None:
    inputs = write_family(tmp_path, count=1)
    (tmp_path / "pipeline" / "unet").mkdir(parents=True)
    (tmp_path / "pipeline" / "unet" / "config.json").write_text("{}")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    with pytest.raises(SourceError, match=r"diffusers pipeline of several models \(unet\)"):
        planned({**inputs, "models": [str(tmp_path / "pipeline")]})
    write_adapter(tmp_path / "adapters" / "one", random_factors(0, MODULES))
    with pytest.raises(SourceError, match="adapters in one") as caught:
        planned({**inputs, "models": [str(tmp_path / "adapters")]})
    assert caught.value.hint and str(tmp_path / "adapters" / "one") in caught.value.hint


def test_variants_of_diffusers_are_one_model_and_keep_their_name(tmp_path: Path) -> None:
    inputs = write_family(tmp_path)
    for place in ("base", "task0", "task1", "task2"):
        folder = tmp_path / place
        (folder / "model.safetensors").rename(folder / "diffusion_pytorch_model.safetensors")
        (folder / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")
        (folder / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    plan = planned(inputs)
    assert [file.name for file in plan.layout.files] == ["diffusion_pytorch_model.safetensors"]
    shards = mg.make_plan(mg.load_recipe({**inputs, "method": "average", "output": {"shard_size": "1MB"}}))
    assert not shards.layout.indexes
    for place in ("base", "task0"):
        for file in (tmp_path / place).glob("*.safetensors"):
            file.unlink()
        write_shards(tmp_path / place, {"a.weight": torch.ones(400, 400), "b.weight": torch.ones(400, 400)}, 2)
        for file in (tmp_path / place).glob("model*"):
            text = file.read_bytes().replace(b"model-0", b"diffusion_pytorch_model-0")
            new = file.with_name(f"diffusion_pytorch_{file.name}")
            new.write_bytes(text if file.suffix == ".json" else file.read_bytes())
            file.unlink()
    few = {"base": inputs["base"], "models": inputs["models"][:1], "output": {"shard_size": "1MB"}}
    layout = planned(few).layout
    assert list(layout.indexes) == ["diffusion_pytorch_model.safetensors.index.json"]
    assert layout.files[0].name == "diffusion_pytorch_model-00001-of-00001.safetensors" or len(layout.files) == 2


def test_a_model_of_transformers_gets_the_name_that_it_loads(tmp_path: Path) -> None:
    inputs = write_family(tmp_path, count=1)
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "weights.safetensors")
    assert planned(inputs).layout.files[0].name == "weights.safetensors"
    (tmp_path / "base" / "config.json").write_text('{"model_type": "bert"}')
    assert planned(inputs).layout.files[0].name == "model.safetensors"


def test_a_base_in_a_subfolder_of_a_cached_snapshot(tmp_path: Path) -> None:
    home = tmp_path / "disk" / "models--owner--name"
    (home / "blobs").mkdir(parents=True)
    write_model(tmp_path / "made", {"a.weight": torch.ones(3, 3)})
    (tmp_path / "made" / "model.safetensors").rename(home / "blobs" / "0123")
    (home / "blobs" / "4567").write_text('{"model_type": "bert"}')
    place = home / "snapshots" / "abc" / "unet"
    place.mkdir(parents=True)
    (place / "model.safetensors").symlink_to("../../../blobs/0123")
    (place / "config.json").symlink_to("../../../blobs/4567")
    (tmp_path / "hub").symlink_to(tmp_path / "disk")  # as where HF_HOME is a link
    linked = tmp_path / "hub" / "models--owner--name" / "snapshots" / "abc" / "unet"
    for folder in (place, linked):
        mg.merge(
            mg.load_recipe({"base": str(folder), "models": [str(folder)], "method": "average"}),
            tmp_path / "out",
            overwrite=True,
        )
        assert (tmp_path / "out" / "config.json").is_file()
