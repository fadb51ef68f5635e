"""Small models and adapters on disk, for merges that must give the same bytes on every run.

Every number comes from a seeded generator, and every file from the safetensors library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Module to its (A, B)."""

WORDS = "embeddings.word_embeddings.weight"
ALIKE = "encoder.1.alike.weight"

ENCODER = {
    # More than a million entries: sums and merges row by row take more than one step.
    WORDS: (1200, 900),
    "embeddings.position_embeddings.weight": (2048, 72),
    # Sides above and below 64, where the eigen-solver changes; matrices that are tall, wide and square.
    "encoder.0.query.weight": (96, 72),
    "encoder.0.query.bias": (96,),
    "encoder.0.output.weight": (72, 160),
    "encoder.1.query.weight": (80, 80),
    ALIKE: (72, 66),
    "encoder.1.narrow.weight": (10, 40),
    "encoder.1.norm.weight": (72,),
    "patches.weight": (128, 3, 16, 16),
    "temperature": (),
    "unused.bias": (0,),
}
"""An encoder's tensors: maps, tables, vectors, a convolution, a number, nothing."""

GPT2 = {
    "transformer.wte.weight": (60, 72),
    "transformer.wpe.weight": (16, 72),
    **{
        f"transformer.h.{layer}.{name}": shape
        for layer in (0, 1)
        for name, shape in {
            "ln_1.weight": (72,),
            "attn.c_attn.weight": (72, 216),
            "attn.c_attn.bias": (216,),
            "attn.c_proj.weight": (72, 72),
            "mlp.c_fc.weight": (72, 288),
            "mlp.c_proj.weight": (288, 72),
        }.items()
    },
}
"""A language model with the transposed linear maps of GPT-2."""

CLASSES = (3, 4, 2)


def write_encoders(folder: Path) -> None:
    """Write `ENCODER` and three fine-tunes of it with heads, in float32 and in bfloat16."""
    base = drawn(ENCODER, seed=0)
    base["position_ids"] = torch.arange(2048)[None]
    base["attended"] = torch.ones(4, dtype=torch.bool)
    base["offset"] = base["encoder.0.query.bias"].double()
    for suffix, dtype in {"": torch.float32, "-bfloat16": torch.bfloat16}.items():
        rounded = {name: stored(tensor, dtype) for name, tensor in base.items()}
        write_model(folder / f"base{suffix}", rounded)
        for task, classes in enumerate(CLASSES):
            tensors = fine_tuned(base, task)
            tensors |= drawn({"classifier.weight": (classes, 72), "classifier.bias": (classes,)}, seed=100 + task)
            tensors = {name: stored(tensor, dtype) for name, tensor in tensors.items()}
            place = folder / f"task{task}{suffix}"
            if task == 1:
                write_shards(place, tensors)
            elif task == 2:
                write_model(place, {_prefixed(name): tensor for name, tensor in tensors.items()})
            else:
                write_model(place, tensors)


def write_encoder_adapters(folder: Path) -> None:
    """Write LoRA adapters of `ENCODER`: plain, by patterns and stabilised, of a table, with a head of its own."""
    modules = [name.removesuffix(".weight") for name, shape in ENCODER.items() if _is_map(name, shape)]
    plain = drawn_factors(modules, ENCODER, dict.fromkeys(modules, 3), seed=200)
    write_adapter(folder / "lora-plain", plain, r=3, lora_alpha=6)
    ranks = {module: 5 if module.startswith("encoder.0.") else 2 for module in modules}
    write_adapter(
        folder / "lora-patterns",
        drawn_factors(modules, ENCODER, ranks, seed=201),
        r=2,
        lora_alpha=4,
        rank_pattern={r"encoder\.0\.(query|output)": 5},
        alpha_pattern={r"encoder\.[0-9]+\.query": 3},
        use_rslora=True,
    )
    some = modules[::2]
    head = drawn({"classifier.weight": (5, 72), "classifier.bias": (5,)}, seed=202)
    write_adapter(
        folder / "lora-head",
        drawn_factors(some, ENCODER, dict.fromkeys(some, 4), seed=203),
        saved=head,
        r=4,
        lora_alpha=4,
        modules_to_save=["classifier"],
    )
    table = WORDS.removesuffix(".weight")
    ((down, up),) = drawn_factors([table], ENCODER, {table: 2}, seed=204).values()
    # PEFT turns the factors of a table, A is (rank, rows) and B (columns, rank), and saves the base's weights too.
    write_adapter(
        folder / "lora-table",
        plain,
        embeddings={table: (up.mT, down.mT)},
        saved={f"{table}.base_layer.weight": drawn(ENCODER, seed=0)[WORDS]},
        r=3,
        rank_pattern={"word_embeddings": 2},
    )


def write_gpt2(folder: Path) -> None:
    """Write `GPT2`, two fine-tunes of it and an adapter."""
    base = drawn(GPT2, seed=1)
    config = {"model_type": "gpt2", "n_embd": 72, "n_layer": 2}
    write_model(folder / "gpt2", base, config)
    write_model(folder / "gpt2-task0", fine_tuned(base, 10), config)
    unprefixed = {name.removeprefix("transformer."): tensor for name, tensor in fine_tuned(base, 11).items()}
    write_model(folder / "gpt2-task1", unprefixed, config)
    turned = {name: shape[::-1] for name, shape in GPT2.items()}
    modules = [name.removesuffix(".weight") for name in GPT2 if ".c_" in name and name.endswith(".weight")]
    factors = drawn_factors(modules, turned, dict.fromkeys(modules, 4), seed=205)
    write_adapter(folder / "gpt2-lora", factors, r=4, lora_alpha=8, fan_in_fan_out=True)


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def fine_tuned(base: Tensors, task: int) -> Tensors:
    """The base plus a task vector; words that a task does not have stay where they were."""
    generator = torch.Generator().manual_seed(1000 + task)
    tensors = {}
    for name, tensor in base.items():
        if not tensor.is_floating_point():
            tensors[name] = tensor.clone()
            continue
        update = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        if name == WORDS:
            # All tasks share the first quarter of the words; of the others a task has a half or two thirds.
            own = update[len(update) // 4 :]
            own[(torch.arange(len(own)) + task) % (2 + task % 2) == 0] = 0
        if name == ALIKE:
            # Two tasks have the same directions, which no basis can hold twice, and the third has none.
            update = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2000)) * (task < 2)
        tensors[name] = tensor + (0.05 + 0.02 * task) * update
    return tensors


def drawn_factors(
    modules: list[str], shapes: Mapping[str, tuple[int, ...]], ranks: Mapping[str, int], seed: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """(A, B) for weights of (outputs, inputs)."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for module in modules:
        outputs, inputs = shapes[f"{module}.weight"]
        down = torch.randn(ranks[module], inputs, generator=generator) / 8
        factors[module] = (down, torch.randn(outputs, ranks[module], generator=generator) / 8)
    return factors


def stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor as a checkpoint of this precision holds it: tensors that are not float32 stay as they are."""
    return tensor.to(dtype) if tensor.dtype == torch.float32 else tensor


def write_model(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> None:
    _save(folder / "model.safetensors", tensors)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


def write_shards(folder: Path, tensors: Mapping[str, Tensor], count: int = 3) -> None:
    weight_map: dict[str, str] = {}
    for number in range(count):
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = {name: tensors[name] for name in list(tensors)[number::count]}
        _save(folder / file, part)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_adapter(
    folder: Path,
    factors: Factors,
    *,
    embeddings: Factors | None = None,
    saved: Mapping[str, Tensor] | None = None,
    **settings: Any,
) -> None:
    """Write a LoRA adapter under the names that PEFT gives its tensors."""
    tensors: Tensors = {}
    for module, (down, up) in factors.items():
        tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"] = down, up
    for module, (down, up) in (embeddings or {}).items():
        tensors[f"{module}.lora_embedding_A"], tensors[f"{module}.lora_embedding_B"] = down, up
    tensors |= saved or {}
    _save(folder / "adapter_model.safetensors", {f"base_model.model.{name}": own for name, own in tensors.items()})
    config = {"peft_type": "LORA", "bias": "none", "target_modules": sorted([*factors, *(embeddings or {})])}
    (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))


def _save(file: Path, tensors: Mapping[str, Tensor]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(whole, file, metadata={"format": "pt"})


def _is_map(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and "embeddings" not in name


def _prefixed(name: str) -> str:
    return name if name.startswith("classifier.") else f"model.{name}"
