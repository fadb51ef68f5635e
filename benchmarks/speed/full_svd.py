"""The same merges by full decompositions of dense matrices, as the published codes compute them.

``python -m benchmarks.speed.full_svd --method tsv_m --output FOLDER --base BASE MODEL...``: all models in memory
through the safetensors library, float32, `torch.linalg.svd` of every task vector, polar factors through
`torch.linalg.svd`. Adapters are multiplied out; of them the merged task vectors are written.

Written from the definitions and sharing no code with the package. The functions take tensors of any precision, so
that float64 says which of two float32 results is the closer one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from benchmarks.speed.sizes import DENSITY

KEEP = 1e-3


def truncated(tau: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """``U, S, V`` of the leading directions; the entry of largest magnitude of each ``u`` is positive."""
    left, values, right = torch.linalg.svd(tau, full_matrices=False)
    left, values, right = left[:, :rank], values[:rank], right[:rank].T
    peaks = left.gather(0, left.abs().argmax(dim=0, keepdim=True))
    return left * peaks.sign(), values, right * peaks.sign()


def polar(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def shared(tops: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    left = polar(torch.cat([left for left, _, _ in tops], dim=1))
    right = polar(torch.cat([right for _, _, right in tops], dim=1))
    return left, torch.cat([values for _, values, _ in tops]), right


def tsv_m(taus: list[Tensor], rank: int) -> Tensor:
    left, values, right = shared([truncated(tau, rank) for tau in taus])
    return left * values @ right.T


def mda(taus: list[Tensor], rank: int) -> Tensor:
    left, values, right = shared([truncated(tau, rank) for tau in taus])
    count = len(values)
    centred = left - left.mean(dim=1, keepdim=True)
    return count / (count - 1) * (centred * values) @ right.T


def dc_merge(taus: list[Tensor], rank: int) -> Tensor:
    return in_shared_subspace([truncated(tau, rank) for tau in taus], rank)


def dc_merge_of_adapters(taus: list[Tensor], rank: int) -> Tensor:
    tops = [truncated(tau, rank) for tau in taus]
    return in_shared_subspace([(left, values.mean().expand(rank), right) for left, values, right in tops], rank)


def in_shared_subspace(tops: list[tuple[Tensor, Tensor, Tensor]], rank: int) -> Tensor:
    left, _, right = shared(tops)
    coordinates = torch.stack([left.T @ (u * s) @ (v.T @ right) for u, s, v in tops])
    # Coordinates of an even spectrum are equal but for their rounding, which must not choose among them.
    merged = trimmed_vote(coordinates, KEEP, rounding=100 * torch.finfo(coordinates.dtype).eps)
    owner = torch.arange(left.shape[1]) // rank
    return left @ (merged * (owner[:, None] == owner[None, :])) @ right.T


def average(taus: list[Tensor], rank: int = 0) -> Tensor:
    return torch.stack(taus).mean(dim=0)


def task_arithmetic(taus: list[Tensor], rank: int = 0) -> Tensor:
    return torch.stack(taus).sum(dim=0)


def ties(taus: list[Tensor], rank: int = 0) -> Tensor:
    return trimmed_vote(torch.stack(taus), DENSITY)


def trimmed_vote(values: Tensor, share: float, rounding: float = 0.0) -> Tensor:
    """Each task's largest entries, the sign of their sum, the mean of those that have it."""
    flat = values.flatten(1)
    size = flat.shape[1]
    threshold = flat.abs().kthvalue(size - max(1, int(size * share)) + 1, dim=1, keepdim=True).values
    kept = torch.where(flat.abs() >= threshold * (1 - rounding), flat, 0)
    agreeing = torch.where(kept.sign() == kept.sum(dim=0).sign(), kept, 0)
    return (agreeing.sum(dim=0) / (agreeing != 0).sum(dim=0).clamp(min=1)).view(values.shape[1:])


OF_ADAPTERS = {"dc_merge": dc_merge_of_adapters}
"""Methods that treat adapters differently."""
METHODS = {function.__name__: function for function in (tsv_m, mda, dc_merge, average, task_arithmetic, ties)}


def merged_models(base: dict[str, Tensor], models: list[dict[str, Tensor]], method: str) -> dict[str, Tensor]:
    merged = {}
    for name, weight in base.items():
        taus = [model[name] - weight for model in models]
        directional = method in ("tsv_m", "mda", "dc_merge")
        of_all = weight.dim() == 2 or not directional
        rank = min(weight.shape) // len(models) if weight.dim() == 2 else 0
        merged[name] = weight + (METHODS[method](taus, rank) if of_all else average(taus))
    return merged


def merged_adapters(folders: list[Path], method: str) -> dict[str, Tensor]:
    factors = [safetensors.torch.load_file(folder / "adapter_model.safetensors") for folder in folders]
    scales = [scaling(folder) for folder in folders]
    merged = {}
    for down in [name for name in factors[0] if ".lora_A." in name]:
        up = down.replace(".lora_A.", ".lora_B.")
        taus = [scale * own[up] @ own[down] for own, scale in zip(factors, scales, strict=True)]
        merged[module_of(down)] = OF_ADAPTERS.get(method, METHODS[method])(taus, factors[0][down].shape[0])
    return merged


def scaling(folder: Path) -> float:
    config = json.loads((folder / "adapter_config.json").read_text())
    return config["lora_alpha"] / config["r"]


def module_of(name: str) -> str:
    return name.removeprefix("base_model.model.").partition(".lora_")[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("models", type=Path, nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if (given.models[0] / "adapter_config.json").exists():
        merged = merged_adapters(given.models, given.method)
    else:
        base = safetensors.torch.load_file(given.base / "model.safetensors")
        models = [safetensors.torch.load_file(model / "model.safetensors") for model in given.models]
        merged = merged_models(base, models, given.method)
    given.output.mkdir(parents=True)
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in merged.items()}, given.output / "model.safetensors"
    )


if __name__ == "__main__":
    main()
