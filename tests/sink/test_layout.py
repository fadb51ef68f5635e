"""The laid-out bytes are those that the safetensors library writes."""

import json
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save, save_file

from mergeometry.digests import digest_of
from mergeometry.dtypes import DTYPES, codes, torch_dtype
from mergeometry.errors import OutputError
from mergeometry.sink import OutputTensor, Slot, SlotWriter, lay_out, safetensors_bytes, weights_digest

NAMES = ["a.weight", "b", 'z\n"quoted"\\', "größe", "名前", "\x01\x7f\u2028", "", "😀", "a.bias"]


def sample(dtype: torch.dtype, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.tensor(shape).prod()) if shape else 1
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (count * dtype.itemsize,), generator=generator)
    return raw.to(torch.uint8).view(dtype).reshape(shape)


def everything() -> dict[str, torch.Tensor]:
    shapes = [(3, 5), (), (0, 4), (7,), (2, 1, 3)]
    tensors = {name: sample(torch.float32, shapes[place % 5], place) for place, name in enumerate(NAMES)}
    for place, code in enumerate(DTYPES):
        dtype = torch_dtype(code)
        tensors[f"{code}.first"] = sample(dtype, shapes[place % 5], place)
        tensors[f"{code}.second"] = sample(dtype, (3,), place)
    return tensors


def planned(tensors: dict[str, torch.Tensor]) -> list[OutputTensor]:
    return [OutputTensor(name, codes()[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()]


def write_all(folder, tensors, layout):
    for file in layout.files:
        with (folder / file.name).open("wb") as handle:
            handle.write(file.header)
            handle.truncate(file.size)
    with SlotWriter(folder, open_files=2) as writer:
        return {name: writer.write(layout.slots[name], tensor) for name, tensor in tensors.items()}


def test_bytes_equal_the_library_for_every_dtype_and_name(tmp_path):
    tensors = everything()
    layout = lay_out(planned(tensors), shard_size=1 << 40)
    hashes = write_all(tmp_path, tensors, layout)
    save_file(tensors, tmp_path / "reference.safetensors", metadata={"format": "pt"})
    assert [file.name for file in layout.files] == ["model.safetensors"] and not layout.indexes
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "reference.safetensors").read_bytes()
    assert safetensors_bytes(tensors) == (tmp_path / "reference.safetensors").read_bytes()
    assert layout.nbytes == (tmp_path / "model.safetensors").stat().st_size
    raw = tensors["F32.second"].view(torch.uint8).numpy().tobytes()
    assert hashes["F32.second"] == digest_of(raw)


def test_order_of_the_input_does_not_matter(tmp_path):
    tensors = planned(everything())
    shuffled = random.Random(0).sample(tensors, len(tensors))
    assert lay_out(tensors, shard_size=64).files == lay_out(shuffled, shard_size=64).files
    assert lay_out(tensors, shard_size=64).digest == lay_out(shuffled, shard_size=64).digest
    assert lay_out(tensors, shard_size=64).digest != lay_out(tensors, shard_size=200).digest


def test_shards_as_hugging_face_does(tmp_path):
    from huggingface_hub import split_torch_state_dict_into_shards

    generator = random.Random(1)
    tensors = {f"layer.{place:02d}": torch.zeros(generator.randint(1, 60)) for place in range(40)}
    tensors["layer.17"] = torch.zeros(1000)
    layout = lay_out(planned(tensors), shard_size=400)
    reference = split_torch_state_dict_into_shards(dict(sorted(tensors.items())), max_shard_size=400)
    assert list(layout.indexes) == ["model.safetensors.index.json"]
    index = layout.indexes["model.safetensors.index.json"]
    assert index["weight_map"] == reference.tensor_to_filename
    assert index["metadata"]["total_size"] == reference.metadata["total_size"]
    write_all(tmp_path, tensors, layout)
    for file in layout.files:
        content = (tmp_path / file.name).read_bytes()
        assert content == save(load(content), metadata={"format": "pt"})
        with safe_open(tmp_path / file.name, "pt") as opened:
            assert set(opened.keys()) == set(reference.filename_to_tensors[file.name])


def test_metadata_and_stem():
    layout = lay_out(
        [OutputTensor("x", "F32", (1,))], shard_size=9, stem="adapter_model", metadata={"b": "2", "a": "1"}
    )
    header = json.loads(layout.files[0].header[8:])
    assert layout.files[0].name == "adapter_model.safetensors"
    assert header["__metadata__"] == {"a": "1", "b": "2", "format": "pt"}
    assert len(layout.files[0].header) % 8 == 0


@pytest.mark.parametrize(
    "tensors, size",
    [
        ([], 10),
        ([OutputTensor("x", "F32", (1,))], 0),
        ([OutputTensor("x", "F32", (1,)), OutputTensor("x", "F32", (1,))], 10),
        ([OutputTensor("x", "F4", (1,))], 10),
        ([OutputTensor("x", "F32", (-1,))], 10),
        ([OutputTensor("__metadata__", "F32", (1,))], 10),
        ([OutputTensor("\ud800", "F32", (1,))], 10),
    ],
)
def test_unusable_plans_are_refused(tensors, size):
    with pytest.raises(OutputError):
        lay_out(tensors, shard_size=size)


def test_writer_takes_views_and_parts(tmp_path):
    tensor = torch.arange(24, dtype=torch.bfloat16).reshape(4, 6)
    layout = lay_out([OutputTensor("x", "BF16", (6, 4))], shard_size=1 << 20)
    hashes = write_all(tmp_path, {"x": tensor.t()}, layout)
    whole = (tmp_path / "model.safetensors").read_bytes()
    slot = layout.slots["x"]
    flat = tensor.t().contiguous().reshape(-1)
    with SlotWriter(tmp_path) as writer:
        writer.write(slot, torch.zeros(24, dtype=torch.bfloat16))
        assert writer.digest(slot) != hashes["x"]
        writer.write_range(slot, 20, flat[20:])
        writer.write_range(slot, 0, flat[:20])
        assert writer.digest(slot) == hashes["x"]
        assert (tmp_path / "model.safetensors").read_bytes() == whole
        for wrong in (flat[1:], flat.half()):
            with pytest.raises(OutputError):
                writer.write(slot, wrong)
        for first, part in ((21, flat[20:]), (-1, flat[:1]), (0, flat.half())):
            with pytest.raises(OutputError):
                writer.write_range(slot, first, part)
        with pytest.raises(OutputError, match="No such file"):
            writer.write(Slot("gone.safetensors", 0, 48, "BF16"), flat)


def test_writer_survives_short_writes(tmp_path, monkeypatch):
    import os

    real = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda descriptor, data, start: real(descriptor, data[:7], start))
    tensor = torch.arange(50.0)
    layout = lay_out([OutputTensor("x", "F32", (50,))], shard_size=1 << 20)
    write_all(tmp_path, {"x": tensor}, layout)
    assert torch.equal(load((tmp_path / "model.safetensors").read_bytes())["x"], tensor)


def test_digest_of_weights_is_independent_of_order_and_sharding():
    entries = [("a", "F32", (1, 2), "00"), ("b\n", "F16", [3], "11")]
    assert (
        weights_digest(entries, "sha256")
        == weights_digest(reversed(entries), "sha256")
        == weights_digest([("a", "F32", [1, 2], "00"), ("b\n", "F16", (3,), "11")], "sha256")
    )
    assert weights_digest(entries, "sha256") != weights_digest([("a", "F32", (2, 1), "00"), entries[1]], "sha256")
    assert len({weights_digest([("a", code, (1,), "00")], "sha256") for code in ("F32", "F16")}) == 2
