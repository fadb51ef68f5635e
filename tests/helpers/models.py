"""Builds small models and adapters on disk, with the libraries that people use to write theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

Tensors = dict[str, Tensor]

SHAPES = {
    "embed.weight": (11, 6),
    "layer.0.dense.weight": (8, 6),
    "layer.0.dense.bias": (8,),
    "layer.1.dense.weight": (5, 8),
    "layer.1.norm.weight": (8,),
    "temperature": (),
}
"""A toy: two linear maps, a table, vectors, a number."""


def random_tensors(seed: int, dtype: torch.dtype = torch.float32, shapes: Mapping[str, tuple] = SHAPES) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def tuned(base: Tensors, seed: int, size: float = 0.1) -> Tensors:
    """A fine-tune: every number of the base a little elsewhere, in the base's dtype."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return {
        name: (tensor.float() + size * torch.randn(tensor.shape, generator=generator)).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in base.items()
    }


def write_model(folder: Path, tensors: Tensors, config: Mapping[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_shards(folder: Path, tensors: Tensors, count: int, config: Mapping[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for number in range(count):
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = {name: tensors[name] for name in list(tensors)[number::count]}
        safetensors.torch.save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_adapter(
    folder: Path,
    factors: Mapping[str, tuple[Tensor, Tensor]],
    *,
    alpha: float = 4.0,
    saved: Tensors | None = None,
    base_name: str | None = None,
    fan_in_fan_out: bool = False,
) -> Path:
    """Write a LoRA adapter as PEFT does; ``factors`` are (A, B) by module, ``saved`` its whole tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: Tensors = {}
    for module, (down, up) in factors.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = down.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = up.contiguous()
    tensors.update({f"base_model.model.{name}": tensor for name, tensor in (saved or {}).items()})
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_name,
        "r": next(iter(factors.values()))[0].shape[0] if factors else 1,
        "lora_alpha": alpha,
        "target_modules": sorted(factors),
        "modules_to_save": sorted({name.rsplit(".", 1)[0] for name in saved or {}}) or None,
        "fan_in_fan_out": fan_in_fan_out,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def random_factors(
    seed: int, modules: Mapping[str, tuple[int, int]], rank: int = 2
) -> dict[str, tuple[Tensor, Tensor]]:
    """(A, B) for modules of (outputs, inputs)."""
    generator = torch.Generator().manual_seed(2000 + seed)
    return {
        module: (torch.randn(rank, columns, generator=generator), torch.randn(rows, rank, generator=generator))
        for module, (rows, columns) in modules.items()
    }


MODULES = {"layer.0.dense": (8, 6), "layer.1.dense": (5, 8)}
"""The linear maps of the toy, as an adapter names them."""


def write_family(
    folder: Path,
    count: int = 3,
    dtype: torch.dtype = torch.float32,
    shapes: Mapping[str, tuple] = SHAPES,
    adapters: int = 0,
) -> dict[str, Any]:
    """A base with fine-tunes of it, the last ``adapters`` of them LoRA adapters; the recipe's inputs."""
    base = random_tensors(0, dtype, shapes)
    write_model(folder / "base", base)
    models = []
    for number in range(count):
        place = folder / f"task{number}"
        if number >= count - adapters:
            write_adapter(place, random_factors(number, MODULES))
        else:
            write_model(place, tuned(base, number))
        models.append(str(place))
    return {"base": str(folder / "base"), "models": models}


def loaded(folder: Path, stem: str = "model") -> Tensors:
    """All tensors of a folder, read by the format's own library."""
    index = folder / f"{stem}.safetensors.index.json"
    if index.exists():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        files = [f"{stem}.safetensors"]
    tensors: Tensors = {}
    for file in files:
        tensors.update(safetensors.torch.load_file(folder / file))
    return tensors


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def weight_hashes(folder: Path) -> dict[str, str]:
    """sha256 of the files that hold weights, or say where they are."""
    return {name: digest for name, digest in file_hashes(folder).items() if ".safetensors" in name}


def tiny_bert(kind: str = "BertModel", **changes: Any) -> Any:
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(**{**sizes, "vocab_size": 40, "max_position_embeddings": 12, **changes})
    return getattr(transformers, kind)(config).eval()


def tiny_gpt2() -> Any:
    import transformers

    config = transformers.GPT2Config(n_embd=12, n_layer=2, n_head=2, n_positions=10, vocab_size=30)
    return transformers.GPT2LMHeadModel(config).eval()


def peft_adapter(model: Any, folder: Path, targets: list[str], seed: int, rank: int = 2, **options: Any) -> Path:
    """A LoRA adapter of a model with both factors random, saved by PEFT itself; the model is left as it was."""
    import copy

    import peft

    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=3, target_modules=targets, **options)
    wrapped = peft.get_peft_model(copy.deepcopy(model), config)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)
    wrapped.save_pretrained(folder)
    return folder
