"""Writes Llamas in bfloat16, fine-tunes of them and adapters: ``python -m benchmarks.speed.llama_models FOLDER COUNT``.

Weights are random; a fine-tune moves each entry by about a thirtieth of its size, so that after rounding to bfloat16
one entry in ten stays as it was. The command writes a base of 0.5B parameters and its fine-tunes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.speed.sizes import LLAMA_HALF_B, Size

SPREAD, MOVE = 0.02, 0.0006
"""Standard deviations of the base's entries and of what a fine-tune adds to them."""


def write(folder: Path, size: Size, count: int) -> list[Path]:
    """Write the base and ``count`` fine-tunes, unless they are there, and return their folders, the base's first."""
    names = ["base", *(f"task{task}" for task in range(count))]
    return [write_model(folder / name, size, number) for number, name in enumerate(names)]


def write_model(folder: Path, size: Size, number: int, shard_bytes: int | None = None) -> Path:
    """Write the base (number 0) or a fine-tune, unless it is there: in one file, or in shards of about that size."""
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    if shard_bytes is None:
        save_file(dict(_tensors(size, number)), unfinished / "model.safetensors", metadata={"format": "pt"})
    else:
        _write_shards(unfinished, size, number, shard_bytes)
    config = {**size.config(), "torch_dtype": "bfloat16"}
    (unfinished / "config.json").write_text(json.dumps(config, indent=1))
    unfinished.rename(folder)
    return folder


def write_adapter(folder: Path, size: Size, number: int) -> Path:
    """Write an adapter of every linear map, unless it is there."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    rank, tensors, generator = size.adapter_rank, {}, torch.Generator().manual_seed(number)
    for module, (outputs, inputs) in size.matrices():
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator)
        tensors[f"base_model.model.{module}.lora_B.weight"] = 0.01 * torch.randn(outputs, rank, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "r": rank,
        "lora_alpha": rank, "target_modules": sorted({module.rsplit(".", 1)[1] for module, _ in size.matrices()}),
        "fan_in_fan_out": False, "bias": "none",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def _write_shards(folder: Path, size: Size, number: int, shard_bytes: int) -> None:
    files: dict[str, str] = {}
    shard: dict[str, Tensor] = {}

    def flush() -> None:
        file = f"model-{len(set(files.values())) + 1:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        files.update(dict.fromkeys(shard, file))
        shard.clear()

    for name, tensor in _tensors(size, number):
        shard[name] = tensor
        if sum(one.nbytes for one in shard.values()) > shard_bytes:
            flush()
    if shard:
        flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def _tensors(size: Size, number: int) -> Iterator[tuple[str, Tensor]]:
    """The base's tensors for number 0, a fine-tune's for any other."""
    shapes = [*size.others(), *((f"{module}.weight", shape) for module, shape in size.matrices())]
    for place, (name, shape) in enumerate(shapes):
        base = torch.randn(shape, generator=torch.Generator().manual_seed(place)).mul_(SPREAD)
        if len(shape) == 1:
            base.add_(1.0)
        if number:
            own = torch.Generator().manual_seed(1_000_000 * number + place)
            base.add_(torch.randn(shape, generator=own), alpha=MOVE)
        yield name, base.bfloat16()


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]), LLAMA_HALF_B, int(sys.argv[2]))
