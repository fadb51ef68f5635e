"""PEFT's `add_weighted_adapter` against ours in memory, layer by layer in turn: prints JSON.

``python -m benchmarks.speed.adapter_peft SIZE LAYERS``: PEFT multiplies the factors, merges the dense updates, and
decomposes the result in full. Ours are the same two merges, and DC-Merge, which PEFT has not; all give an adapter of
the adapters' rank.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from benchmarks.speed import synthetic
from benchmarks.speed.sizes import BY_NAME, DENSITY, TINY, Size
from mergeometry.linalg.svd import top_directions
from mergeometry.methods import registry
from mergeometry.values import LowRank

THEIRS = {"svd": "task_arithmetic", "ties_svd": "ties", "": "dc_merge"}
"""PEFT's kinds of combination, and the method of ours that is the same merge; DC-Merge has none."""


def main() -> None:
    size, layers = BY_NAME[sys.argv[1]], int(sys.argv[2])
    torch.set_num_threads(1)
    measured(replace(TINY, layers=1))  # loads what is loaded at first use
    rows = measured(replace(size, layers=min(layers, size.layers)))
    print(json.dumps({"peft": importlib.metadata.version("peft"), "layers": layers, "rows": rows}))


def measured(size: Size) -> list[dict[str, object]]:
    """Seconds of both sides for each kind, and the largest relative difference of the merged updates."""
    tensors = [synthetic.adapter(size, task) for task in range(size.tasks)]
    rows = []
    for kind, method in THEIRS.items():
        ours_s, theirs_s, error = 0.0, 0.0, 0.0
        for number in range(size.layers):
            names = [name for name, _ in size.layer(number)]
            model = of_peft(size, number, tensors) if kind else None
            ours, seconds = timed(lambda names=names, method=method: merged(method, size, names, tensors))
            ours_s += seconds
            if model is None:
                continue
            _, seconds = timed(lambda model=model, kind=kind: combine(model, kind, size))
            theirs_s += seconds
            expected = [update_of(model, name) for name in names]
            pairs = zip(ours, expected, strict=True)
            error = max(error, *(float((one - other).norm() / other.norm()) for one, other in pairs))
        rows.append({"ours": method, "theirs": kind, "ours_s": ours_s, "theirs_s": theirs_s, "error": error})
    return rows


def timed(work: Callable[[], list[Tensor]]) -> tuple[list[Tensor], float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def merged(method: str, size: Size, names: list[str], adapters: list[dict[str, Tensor]]) -> list[Tensor]:
    core, rule, results = 2.0 * torch.eye(size.adapter_rank), registry.build(method, {}), []
    for name in names:
        prefix = f"base_model.model.{name}"
        factors = [(own[f"{prefix}.lora_B.weight"], own[f"{prefix}.lora_A.weight"]) for own in adapters]
        delta = rule([LowRank(up, core, down.mT) for up, down in factors])
        results.append(top_directions(delta, size.adapter_rank).low_rank())
    return [result.dense() for result in results]


def of_peft(size: Size, number: int, adapters: list[dict[str, Tensor]]) -> PeftModel:
    """A model of the layer's linear maps, with every adapter on it."""
    maps = {place(name): nn.Linear(inputs, outputs, bias=False) for name, (outputs, inputs) in size.layer(number)}
    config = LoraConfig(r=size.adapter_rank, lora_alpha=2 * size.adapter_rank, target_modules=list(maps))
    model = get_peft_model(nn.ModuleDict(maps), config, adapter_name="0")  # pyright: ignore[reportArgumentType]
    for task, own in enumerate(adapters):
        if task:
            model.add_adapter(str(task), config)
        state = {
            f"base_model.model.{place(name)}.{part}.weight": own[f"base_model.model.{name}.{part}.weight"]
            for name, _ in size.layer(number) for part in ("lora_A", "lora_B")
        }  # fmt: skip
        set_peft_model_state_dict(model, state, adapter_name=str(task))
    return model


def combine(model: PeftModel, kind: str, size: Size) -> list[Tensor]:
    names = [str(task) for task in range(size.tasks)]
    density = DENSITY if kind == "ties_svd" else None
    model.add_weighted_adapter(names, [1.0] * size.tasks, "merged", combination_type=kind, density=density)
    return []


def update_of(model: PeftModel, name: str) -> Tensor:
    layer = model.base_model.get_submodule(f"model.{place(name)}")
    assert isinstance(layer, LoraLinear)
    return layer.get_delta_weight("merged")


def place(name: str) -> str:
    """The name of a map in PEFT's model, whose modules have no dots."""
    return name.replace(".", "-")


if __name__ == "__main__":
    main()
