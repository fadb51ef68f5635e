"""Compare merged outputs with each other and with float64: prints JSON.

``python -m benchmarks.speed.agreement models --method M --ours A --theirs B --exact N --base BASE --models MODEL...``
``python -m benchmarks.speed.agreement norms --ours A --theirs B --base BASE``
``python -m benchmarks.speed.agreement adapters --ours A --theirs B``
``python -m benchmarks.speed.agreement exact --method M --ours A --exact N --base BASE --models MODEL...``

Errors are relative Frobenius norms of the merged *update*: what was added to the base, not the base itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from benchmarks.speed.full_svd import METHODS, average, module_of, scaling

Read = Callable[[str], Tensor]


def between_models(given: argparse.Namespace, base: Read, names: list[str], stack: ExitStack) -> dict[str, Any]:
    ours, theirs = (opened(folder, stack)[0] for folder in (given.ours, given.theirs))
    errors, apart, size = {}, 0.0, 0.0
    for name in names:
        weight = base(name).double()
        first, second = ours(name).double() - weight, theirs(name).double() - weight
        errors[name] = relative(first, second)
        apart += float((first - second).square().sum())
        size += float(second.square().sum())
    return {**summary(errors), "whole": (apart / size) ** 0.5}


def between_norms(given: argparse.Namespace, base: Read, names: list[str], stack: ExitStack) -> dict[str, Any]:
    """How far the sizes of two merged updates are apart: the only possible agreement where entries are random."""
    ours, theirs = (opened(folder, stack)[0] for folder in (given.ours, given.theirs))
    errors, squares = {}, [0.0, 0.0]
    for name in names:
        weight = base(name).double()
        sizes = [float((read(name).double() - weight).norm()) for read in (ours, theirs)]
        errors[name] = abs(sizes[0] / sizes[1] - 1)
        squares = [total + size**2 for total, size in zip(squares, sizes, strict=True)]
    return {**summary(errors), "whole": abs((squares[0] / squares[1]) ** 0.5 - 1)}


def between_adapters(given: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """Our adapter's factors, multiplied, against the dense merged task vectors."""
    ours, names = opened(given.ours, stack, "adapter_model")
    theirs, _ = opened(given.theirs, stack)
    scale = scaling(given.ours)
    errors = {}
    for down in [name for name in names if ".lora_A." in name]:
        product = ours(down.replace(".lora_A.", ".lora_B.")).double() @ ours(down).double()
        errors[module_of(down)] = relative(scale * product, theirs(module_of(down)).double())
    return summary(errors)


def against_float64(
    given: argparse.Namespace, base: Read, names: list[str], stack: ExitStack
) -> dict[str, dict[str, Any]]:
    """Each output against the same mathematics in float64, by full decompositions, on the first tensors."""
    models = [opened(model, stack)[0] for model in given.models]
    outputs = {
        side: opened(folder, stack)[0] for side, folder in (("ours", given.ours), ("theirs", given.theirs)) if folder
    }
    directional = given.method in ("tsv_m", "mda", "dc_merge")
    matrices = [name for name in names if base(name).dim() == 2]
    chosen = matrices[: given.exact] + ([] if directional else [name for name in names if name not in matrices][:6])
    errors: dict[str, dict[str, float]] = {side: {} for side in outputs}
    for name in chosen:
        weight = base(name)
        # The difference that the merges see is a float32 one.
        taus = [(model(name) - weight).double() for model in models]
        rank = min(weight.shape) // len(taus) if weight.dim() == 2 else 0
        law = METHODS[given.method] if weight.dim() == 2 or not directional else average
        update = law(taus, rank)
        for side, read in outputs.items():
            errors[side][name] = relative(read(name).double() - weight.double(), update)
    return {side: summary(found) for side, found in errors.items()}


def relative(first: Tensor, second: Tensor) -> float:
    return float((first - second).norm() / second.norm())


def summary(errors: dict[str, float]) -> dict[str, Any]:
    worst = max(errors, key=lambda name: errors[name])
    return {
        "tensors": len(errors),
        "worst": errors[worst],
        "worst_tensor": worst,
        "median": statistics.median(errors.values()),
    }


def opened(folder: Path, stack: ExitStack, stem: str = "model") -> tuple[Read, list[str]]:
    file = stack.enter_context(safe_open(folder / f"{stem}.safetensors", framework="pt"))
    return file.get_tensor, list(file.keys())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("models", "norms", "adapters", "exact"))
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--ours", type=Path, required=True)
    parser.add_argument("--theirs", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--exact", type=int, default=0)
    parser.add_argument("--models", type=Path, nargs="*", default=())
    given = parser.parse_args()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        if given.what == "adapters":
            print(json.dumps({"between": between_adapters(given, stack)}))
            return
        base, names = opened(given.base, stack)
        found: dict[str, Any] = {}
        if given.what == "models":
            found["between"] = between_models(given, base, names, stack)
        if given.what == "norms":
            found["between"] = between_norms(given, base, names, stack)
        if given.exact:
            found["float64"] = against_float64(given, base, sorted(names), stack)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
