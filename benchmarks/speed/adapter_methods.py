"""A method on adapters in memory, thin against dense, layer by layer in turn: prints JSON.

``python -m benchmarks.speed.adapter_methods SIZE METHOD LAYERS``: ours is the method on `LowRank` values with a
`LowRank` result; the other side multiplies the factors and decomposes the dense matrices in full. Files take no part.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import torch

from benchmarks.speed import full_svd, synthetic
from benchmarks.speed.sizes import BY_NAME, TINY, Size
from mergeometry.linalg.svd import top_directions
from mergeometry.methods import registry
from mergeometry.values import LowRank


def main() -> None:
    size, method = BY_NAME[sys.argv[1]], sys.argv[2]
    size = replace(size, layers=min(int(sys.argv[3]), size.layers))
    torch.set_num_threads(1)
    layers_of(TINY, method)  # loads what is loaded at first use
    print(json.dumps(layers_of(size, method)))


def layers_of(size: Size, method: str) -> list[dict[str, float]]:
    """Seconds of both sides and the worst error of each layer."""
    adapters = [synthetic.adapter(size, task) for task in range(size.tasks)]
    return [layer_of(size, method, adapters, number) for number in range(size.layers)]


def layer_of(size: Size, name: str, adapters: list[dict[str, torch.Tensor]], number: int) -> dict[str, float]:
    method = registry.build(name, {})
    modules = [f"base_model.model.{module}" for module, _ in size.layer(number)]
    factors = {
        module: [(own[f"{module}.lora_B.weight"], own[f"{module}.lora_A.weight"]) for own in adapters]
        for module in modules
    }
    core = 2.0 * torch.eye(size.adapter_rank)
    started = time.perf_counter()
    thin = {module: method([LowRank(up, core, down.mT) for up, down in factors[module]]) for module in modules}
    for merged in thin.values():
        assert isinstance(merged, LowRank)
        top_directions(merged, merged.rank)  # what writing it as an adapter of balanced factors takes
    ours = time.perf_counter() - started
    started = time.perf_counter()
    full = full_svd.OF_ADAPTERS.get(name, full_svd.METHODS[name])
    dense = {module: full([2.0 * up @ down for up, down in factors[module]], size.adapter_rank) for module in modules}
    theirs = time.perf_counter() - started
    errors = []
    for module in modules:
        merged = thin[module]
        assert isinstance(merged, LowRank)
        errors.append(float((merged.dense(torch.float64) - dense[module]).norm() / dense[module].norm()))
    return {"ours_s": ours, "theirs_s": theirs, "error": max(errors)}


if __name__ == "__main__":
    main()
