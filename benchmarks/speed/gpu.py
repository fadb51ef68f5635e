"""Merges on a GPU, on models built on the spot: ``python -m benchmarks.speed.gpu [--device cuda] [--json FILE]``.

For each case: seconds; the share of them that the device's own products of matrices and the copies to it would take,
both measured first; and the relative error of a sample of tensors against the same merge on the CPU in float64, which
has to stay within 1e-4. ``--tiny`` takes shapes of a few entries, on any device: the script's own test.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from benchmarks.speed.machine import circumstances
from benchmarks.speed.synthetic import decaying
from mergeometry.api import make_plan
from mergeometry.execution.devices import chosen_device
from mergeometry.execution.run import execute
from mergeometry.linalg import lapack, on_device
from mergeometry.methods import registry
from mergeometry.methods.families.cost import Sizes
from mergeometry.values import Delta, LowRank

LIMIT = 1e-4
METHODS = ("tsv_m", "dc_merge", "iso_c")


@dataclass(frozen=True)
class Case:
    """Matrices of one layer, how many layers of them, and how many models are merged."""

    name: str
    shapes: tuple[tuple[int, int], ...]
    layers: int
    tasks: int
    rank: int | None = None
    """Of adapters; None for full models."""


def cases(*, tiny: bool) -> list[Case]:
    if tiny:
        square = ((24, 24), (48, 24), (24, 48))
        return [Case("tiny, T = 3", square, 1, 3), Case("tiny adapters, T = 3", square, 1, 3, rank=4)]
    vit, llama = 4 * ((1024, 1024),) + ((4096, 1024), (1024, 4096)), 4 * ((4096, 4096),) + 2 * ((11008, 4096),)
    return [
        Case("ViT-L/14, T = 8", vit, 24, 8),
        Case("ViT-L/14, T = 20", vit, 24, 20),
        Case("adapters of a 7B Llama, T = 8, r = 16", (*llama, (4096, 11008)), 32, 8, rank=16),
    ]


def main(arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    device, found = chosen_device(given.device), circumstances()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else found["machine"]["cpu"]
    rates = {"flops_per_second": products(device, given.tiny), "bus_bytes_per_second": copies(device, given.tiny)}
    rows = []
    for case in cases(tiny=given.tiny):
        for method in METHODS:
            rows.append(in_memory(case, method, device, rates, given.layers))
            print(json.dumps(rows[-1]), file=sys.stderr)
    solvers = list(candidates((16, 24) if given.tiny else (128, 512, 1024, 4096), device))
    with tempfile.TemporaryDirectory() as folder:
        rows.append(streamed(Path(folder), device, tiny=given.tiny, layers=given.layers))
    result = {**found, "device": str(device), "name": name, "rates": rates, "rows": rows, "solvers": solvers}
    text = json.dumps(result, indent=1)
    if given.json is not None:
        given.json.write_text(text + "\n")
    print(text)
    wrong = [row for row in rows if not row["error"] <= LIMIT]
    for row in wrong:
        print(f"{row['case']}, {row['method']}: error {row['error']:.1e}, more than {LIMIT:g}", file=sys.stderr)
    return 1 if wrong else 0


def in_memory(case: Case, name: str, device: torch.device, rates: dict[str, float], most: int) -> dict[str, Any]:
    """A method on task vectors in main memory, moved and merged matrix by matrix."""
    method, layers = registry.build(name, {}), min(case.layers, most)
    seconds, worst, flops, moved = 0.0, 0.0, 0.0, 0
    for layer in range(layers):
        for place, shape in enumerate(case.shapes):
            deltas = [update(case, shape, 1000 * layer + 10 * place + 1_000_000 * task) for task in range(case.tasks)]
            if not layer and not place:
                merged_there(method, deltas, device)  # loads what is loaded at first use
            started = now(device)
            merged = merged_there(method, deltas, device)
            seconds += now(device) - started
            flops += method.cost(Sizes(shape, (case.rank,) * case.tasks)).flops
            moved += sum(part.nbytes for delta in deltas for part in parts_of(delta))
            if not layer and place in (0, len(case.shapes) - 1):
                worst = max(worst, difference(merged, method([each(delta, torch.Tensor.double) for delta in deltas])))
    floors = {"products": flops / rates["flops_per_second"], "copies": moved / rates["bus_bytes_per_second"]}
    return {
        "case": case.name,
        "method": name,
        "layers": layers,
        "seconds": seconds,
        "seconds_of_all_layers": seconds * case.layers / layers,
        "floor_seconds": floors,
        "share_of_floor": max(floors.values()) / seconds,
        "error": worst,
    }


def streamed(folder: Path, device: torch.device, *, tiny: bool, layers: int) -> dict[str, Any]:
    """Layers of a 7B Llama, T = 4, in bfloat16, from files to files."""
    shapes = ((24, 24), (40, 24)) if tiny else 4 * ((4096, 4096),) + ((11008, 4096),) * 2 + ((4096, 11008),)
    count = 1 if tiny else min(2, layers)
    names = {f"model.layers.{n}.m{p}.weight": shape for n in range(count) for p, shape in enumerate(shapes)}
    for model in range(5):
        place = folder / f"model{model}"
        place.mkdir()
        own = torch.Generator().manual_seed(model)
        tensors = {}
        for number, (name, shape) in enumerate(names.items()):
            base = 0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(100 + number))
            tensors[name] = (base + (0.02 * decaying(shape, 0.7, own, 0.125) if model else 0)).bfloat16()
        safetensors.torch.save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    recipe = {
        "base": str(folder / "model0"),
        "models": [str(folder / f"model{model}") for model in range(1, 5)],
        "method": "tsv_m",
        "output": {"dtype": "float32"},
    }
    plan = make_plan(recipe)
    started = now(device)
    execute(plan, folder / "there", device=str(device), workers=1)
    seconds = now(device) - started
    sample = next(iter(names))
    loaded = [
        safetensors.torch.load_file(folder / place / "model.safetensors")[sample].double()
        for place in ("there", *(f"model{model}" for model in range(5)))
    ]
    expected = registry.build("tsv_m", {})([tuned - loaded[1] for tuned in loaded[2:]])
    return {
        "case": "layers of a 7B Llama, T = 4, from files" if not tiny else "tiny, T = 4, from files",
        "method": "tsv_m",
        "layers": count,
        "seconds": seconds,
        "bytes_per_second": plan.bytes_read / seconds,
        "error": difference(loaded[0] - loaded[1], expected),
    }


def candidates(sides: tuple[int, ...], device: torch.device) -> Iterator[dict[str, Any]]:
    """Ways to the polar factor of an ill-conditioned square matrix: seconds, and distance from LAPACK's."""
    for side in sides:
        matrix = decaying((side, side), 1.0, torch.Generator().manual_seed(side)).double()
        matrix = matrix / matrix.norm() + 1e-3 * torch.eye(side).double()
        left, _, right = lapack.thin_svd(matrix)
        there = matrix.to(device)
        for name, way in WAYS.items():
            way(there)
            started = now(device)
            factor = way(there)
            yield {"side": side, "way": name, "seconds": now(device) - started,
                   "error": difference(factor.cpu(), left @ right.mT)}  # fmt: skip


def by_eigenvectors(matrix: Tensor) -> Tensor:
    values, vectors = on_device.symmetric_eigen(on_device.gram(matrix), len(matrix))
    return matrix @ ((vectors / values.sqrt()) @ vectors.mT)


def by_svd(matrix: Tensor) -> Tensor:
    left, _, right = on_device.thin_svd(matrix)
    return left @ right.mT


def by_newton_schulz(matrix: Tensor) -> Tensor:
    """Products alone; singular values of a thousandth of the largest take about twenty steps."""
    factor = matrix / torch.linalg.matrix_norm(matrix)
    for _ in range(32):
        factor = 1.5 * factor - 0.5 * factor @ (factor.mT @ factor)
    return factor


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "eigenvectors of the Gram matrix": by_eigenvectors,
    "singular value decomposition": by_svd,
    "Newton-Schulz": by_newton_schulz,
}


def update(case: Case, shape: tuple[int, int], seed: int) -> Delta:
    own = torch.Generator().manual_seed(seed)
    if case.rank is None:
        return decaying(shape, 0.7, own, 0.125) + 0.01 / max(shape) ** 0.5 * torch.randn(shape, generator=own)
    up = 0.02 * torch.randn(shape[0], case.rank, generator=own) * torch.arange(1, case.rank + 1) ** -0.7
    down = torch.randn(shape[1], case.rank, generator=own) / shape[1] ** 0.5
    return LowRank(up, 2.0 * torch.eye(case.rank), down)


def merged_there(method: Any, deltas: list[Delta], device: torch.device) -> Delta:
    merged = method([each(delta, lambda part: part.to(device)) for delta in deltas])
    return each(merged, lambda part: part.cpu())


def each(delta: Delta, change: Callable[[Tensor], Tensor]) -> Delta:
    """The task vector with the same done to every tensor of it."""
    if isinstance(delta, LowRank):
        return LowRank(change(delta.left), change(delta.core), change(delta.right), delta.orthonormal)
    return change(delta)


def parts_of(delta: Delta) -> tuple[Tensor, ...]:
    return (delta.left, delta.core, delta.right) if isinstance(delta, LowRank) else (delta,)


def difference(got: Delta, expected: Delta) -> float:
    one, other = (each.dense(torch.float64) if isinstance(each, LowRank) else each.double() for each in (got, expected))
    return float((one - other).norm() / other.norm())


def products(device: torch.device, tiny: bool) -> float:
    """Operations a second of one large product in float64."""
    side = 64 if tiny else 4096
    matrix = torch.ones(side, side, dtype=torch.float64, device=device)
    return 2 * side**3 / timed(lambda: matrix @ matrix, device)


def copies(device: torch.device, tiny: bool) -> float:
    """Bytes a second to the device."""
    source = torch.empty(1 << (16 if tiny else 28), dtype=torch.uint8, pin_memory=device.type == "cuda")
    target = torch.empty_like(source, device=device)
    return source.nbytes / timed(lambda: target.copy_(source, non_blocking=True), device)


def timed(work: Callable[[], object], device: torch.device) -> float:
    work()
    started = now(device)
    work()
    return now(device) - started


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu")
    parser.add_argument("--layers", type=int, default=2, help="layers that are measured of each case")
    parser.add_argument("--tiny", action="store_true", help="shapes of a few entries")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
