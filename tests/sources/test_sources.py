"""Checkpoints written by the format's own library are read back bit for bit."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mergeometry.dtypes import DTYPES, torch_dtype
from mergeometry.errors import SourceError
from mergeometry.sources import Adapter, Checkpoint, TensorReader, open_checkpoint, open_model, read_header


def random_tensor(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    count = torch.Size(shape).numel()
    raw = torch.randint(0, 2 if dtype is torch.bool else 256, (count * dtype.itemsize,), dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


def same_bytes(left: torch.Tensor, right: torch.Tensor) -> bool:
    assert left.dtype == right.dtype and left.shape == right.shape
    return torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5,), (3, 4), (2, 3, 4)])
def test_every_dtype_and_shape_comes_back(tmp_path: Path, code: str, shape: tuple[int, ...]) -> None:
    dtype = torch_dtype(code)
    tensors = {"odd": random_tensor(torch.bool, (3,)), "x": random_tensor(dtype, shape)}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = open_checkpoint(tmp_path, "m")
    info = model.tensors["x"]
    assert (info.code, info.shape, info.dtype) == (code, shape, dtype)
    assert model.metadata == {"format": "pt"}
    with TensorReader() as reader:
        assert same_bytes(reader.read(info), tensors["x"])
        last = max(0, info.elements - 1)
        part = reader.read_range(info, min(1, last), last)
        assert same_bytes(part, tensors["x"].reshape(-1)[min(1, last) : last])


def test_a_read_tensor_is_writable_and_its_own(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.ones(4)}, tmp_path / "model.safetensors")
    info = open_checkpoint(tmp_path, "m").tensors["x"]
    with TensorReader() as reader:
        first = reader.read(info)
        first.mul_(2)
        assert torch.equal(reader.read(info), torch.ones(4))
        with pytest.raises(ValueError, match="outside"):
            reader.read_range(info, 0, 5)


def write_shards(folder: Path, shards: dict[str, dict[str, torch.Tensor]], index_name: str) -> None:
    folder.mkdir(exist_ok=True)
    for file, tensors in shards.items():
        safetensors.torch.save_file(tensors, folder / file, metadata={"format": "pt", file: "here"})
    weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    (folder / index_name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))


@pytest.mark.parametrize("index_name", ["model.safetensors.index.json", "other.safetensors.index.json"])
def test_shards_are_one_model(tmp_path: Path, index_name: str) -> None:
    shards = {
        "model-00002-of-00002.safetensors": {"b": torch.randn(2, 3), "z": torch.randn(1)},
        "model-00001-of-00002.safetensors": {"c": torch.randn(4), "a": torch.randn(2)},
    }
    write_shards(tmp_path, shards, index_name)
    (tmp_path / "config.json").write_text('{"model_type": "x", "limit": [0.0, Infinity]}')
    model = open_model(tmp_path, "m")
    assert isinstance(model, Checkpoint)
    assert list(model.tensors) == ["a", "b", "c", "z"]
    assert [file.name for file in model.files] == sorted(shards)
    assert model.config is not None and model.config["model_type"] == "x"
    assert model.nbytes == 4 * (6 + 1 + 4 + 2)
    with TensorReader(descriptors=1) as reader:
        for tensors in shards.values():
            for name, tensor in tensors.items():
                assert torch.equal(reader.read(model.tensors[name]), tensor)
        assert len(reader._open) == 1


def test_single_files_of_any_name(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.safetensors"
    safetensors.torch.save_file({"x": torch.ones(1)}, file)
    assert list(open_model(tmp_path, "m").tensors) == ["x"]  # type: ignore[union-attr]
    assert list(open_model(file, "m").tensors) == ["x"]  # type: ignore[union-attr]
    assert open_checkpoint(file, "m").config is None
    safetensors.torch.save_file({"y": torch.ones(1)}, tmp_path / "second.safetensors")
    with pytest.raises(SourceError, match=r"several files.*pytorch_model.safetensors, second.safetensors"):
        open_model(tmp_path, "m")


def test_the_canonical_file_brings_its_config(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert open_checkpoint(tmp_path / "model.safetensors", "m").config == {"model_type": "gpt2"}


def test_values_cross_processes_and_print(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    model = open_checkpoint(tmp_path, "m")
    assert pickle.loads(pickle.dumps(model)) == model
    assert "x" in repr(model)


def test_a_relative_path_outlives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "m" / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    info = open_checkpoint("m", "m").tensors["x"]
    monkeypatch.chdir("/")
    with TensorReader() as reader:
        assert reader.read(info).item() == 1


def test_a_hub_cache_is_read_through_its_links(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "abc"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    safetensors.torch.save_file({"x": torch.ones(2)}, repository / "blobs" / "f00d")
    (repository / "blobs" / "c0de").write_text("{}")
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00d")
    (snapshot / "config.json").symlink_to("../../blobs/c0de")
    link = tmp_path / "link"
    link.symlink_to(snapshot)
    for path in (snapshot, link, snapshot / "model.safetensors"):
        model = open_checkpoint(path, "m")
        assert model.config == {}
        with TensorReader() as reader:
            assert torch.equal(reader.read(model.tensors["x"]), torch.ones(2))


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.ones(2)}, tmp_path / "weights")
    (tmp_path / "model.safetensors").symlink_to("weights")
    assert list(open_checkpoint(tmp_path, "m").tensors) == ["x"]


def test_control_characters_in_names_are_allowed_and_escaped(tmp_path: Path) -> None:
    name = "a\n\x1b[31m\u202eb"
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({name: torch.ones(2)}, file)
    info = read_header(file).tensors[name]
    os.truncate(file, file.stat().st_size - 1)
    with TensorReader() as reader, pytest.raises(SourceError) as caught:
        reader.read(info)
    assert "\x1b" not in str(caught.value) and "\u202e" not in str(caught.value)
    assert r"a\n\x1b[31m\u202eb" in str(caught.value)


def test_a_large_tensor_needs_one_buffer(tmp_path: Path) -> None:
    tensor = torch.arange(40 * 2**20 // 4, dtype=torch.int32)
    safetensors.torch.save_file({"pad": torch.ones(3, dtype=torch.uint8), "x": tensor}, tmp_path / "model.safetensors")
    info = open_checkpoint(tmp_path, "m").tensors["x"]
    with TensorReader() as reader:
        assert torch.equal(reader.read(info), tensor)
        assert torch.equal(reader.read_range(info, 1_000_003, 5_000_001), tensor[1_000_003:5_000_001])


def test_a_folder_with_adapter_settings_is_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 2}')
    prefix = "base_model.model.layer"
    safetensors.torch.save_file(
        {f"{prefix}.lora_A.weight": torch.ones(1, 3), f"{prefix}.lora_B.weight": torch.ones(2, 1)},
        tmp_path / "adapter_model.safetensors",
    )
    model = open_model(tmp_path, "m")
    assert isinstance(model, Adapter)
    delta = model.deltas["layer.weight"]
    assert (delta.shape, delta.rank, delta.scaling) == ((2, 3), 1, 2.0)
    assert pickle.loads(pickle.dumps(model)) == model
    with pytest.raises(SourceError, match="without its settings"):
        open_model(tmp_path / "adapter_model.safetensors", "m")
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match="both an adapter and a full model"):
        open_model(tmp_path, "m")
