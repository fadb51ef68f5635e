"""Writes a base, full fine-tunes and adapters of it: ``python -m benchmarks.speed.synthetic SIZE FOLDER [PART...]``.

With parts (``base`` or the number of a task) those alone are written, in full, and what is there already stays.

Weights are random; task vectors are as fine-tuning leaves them: a power-law spectrum with an exponent of its own, a
common part that the tasks share, isotropic noise, and the rounding of a difference of float32 weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from benchmarks.speed.sizes import BY_NAME, Size


def main() -> None:
    size, folder = BY_NAME[sys.argv[1]], Path(sys.argv[2])
    torch.set_num_threads(1)
    base = base_weights(size)
    if sys.argv[3:]:
        for part in sys.argv[3:]:
            write_part(folder, base, part, size)
        return
    write_model(folder / "base", base, size)
    for task in range(size.tasks):
        write_model(folder / f"task{task}", fine_tuned(base, size, task), size)
        write_adapter(folder / f"adapter{task}", adapter(size, task), size)


def write_part(folder: Path, base: dict[str, Tensor], part: str, size: Size) -> None:
    """Write the base or one fine-tune, whole or not at all, unless it is there."""
    target = folder / (part if part == "base" else f"task{part}")
    if target.exists():
        return
    unfinished = folder / f"{target.name}.unfinished"
    write_model(unfinished, base if part == "base" else fine_tuned(base, size, int(part)), size)
    unfinished.rename(target)


def base_weights(size: Size) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {f"{module}.weight": 0.03 * torch.randn(shape, generator=generator) for module, shape in size.matrices()}
    for name, shape in size.others():
        weights[name] = 0.02 * torch.randn(shape, generator=generator)
    return weights


def fine_tuned(base: dict[str, Tensor], size: Size, task: int) -> dict[str, Tensor]:
    """The base plus a task vector of about a twentieth of its size."""
    weights = {}
    for number, (module, shape) in enumerate(size.matrices()):
        name = f"{module}.weight"
        own = torch.Generator().manual_seed(1_000_000 * (task + 1) + number)
        exponent = 0.5 + 0.7 * float(torch.rand((), generator=own))
        update = decaying(shape, exponent, own, size.directions)
        update += 0.2 * decaying(shape, 1.0, torch.Generator().manual_seed(number), size.directions)
        update += 0.01 / max(shape) ** 0.5 * torch.randn(shape, generator=own)
        weights[name] = base[name] + update * (0.05 * base[name].norm() / update.norm())
    own = torch.Generator().manual_seed(1_000_000 * (task + 1) + 999_999)
    for name, shape in size.others():
        weights[name] = base[name] + 0.001 * torch.randn(shape, generator=own)
    return weights


def decaying(shape: tuple[int, int], exponent: float, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """A matrix with singular values of about ``i ** -exponent``: nearly orthogonal factors, which are cheap."""
    rank = max(1, int(share * min(shape)))
    left = torch.randn(shape[0], rank, generator=generator) / shape[0] ** 0.5
    right = torch.randn(shape[1], rank, generator=generator) / shape[1] ** 0.5
    return left * torch.arange(1, rank + 1) ** -exponent @ right.T


def adapter(size: Size, task: int) -> dict[str, Tensor]:
    """LoRA factors with columns of decaying size, partly common to the tasks."""
    tensors, rank = {}, size.adapter_rank
    for number, (module, (outputs, inputs)) in enumerate(size.matrices()):
        own = torch.Generator().manual_seed(2_000_000 * (task + 1) + number)
        common = torch.randn(outputs, rank, generator=torch.Generator().manual_seed(number))
        up = torch.randn(outputs, rank, generator=own) + 0.3 * common
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(rank, inputs, generator=own) / inputs**0.5
        tensors[f"base_model.model.{module}.lora_B.weight"] = 0.02 * up * torch.arange(1, rank + 1) ** -0.7
    return tensors


def write_model(folder: Path, tensors: dict[str, Tensor], size: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    config = {**size.config(), "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def write_adapter(folder: Path, tensors: dict[str, Tensor], size: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(whole, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "r": size.adapter_rank,
        "lora_alpha": 2 * size.adapter_rank,
        "target_modules": sorted(module for module, _ in size.matrices()),
        "fan_in_fan_out": False,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
