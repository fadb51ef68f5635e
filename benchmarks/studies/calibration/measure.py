"""The figures of every task in every merge of a board, at each scale that has scores: one pass over the tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.measure import say
from benchmarks.studies.calibration.disturbance import disturbance_terms
from mergeometry.comparison.attach_moments import attach_moments
from mergeometry.comparison.merging import MergeJob, merge_jobs, merge_tensor
from mergeometry.comparison.scratch import create
from mergeometry.comparison.setup import Setup
from mergeometry.conventions.layer_names import LayerNames
from mergeometry.diagnostics.alignment import ENERGY, directional_consistency
from mergeometry.diagnostics.frames import deviation, residual
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors
from mergeometry.linalg.inner import inner
from mergeometry.linalg.norms import frobenius
from mergeometry.linalg.responses import resolve_equal_values, shares_held
from mergeometry.linalg.span import left_coordinates
from mergeometry.linalg.spectrum import Spectrum
from mergeometry.methods.families.directional import rank_of
from mergeometry.sources import TensorReader
from mergeometry.values import Delta, Directions, LowRank

Sums = dict[str, float]
"""Sums over tensors, from which ratios are taken; those of a merge at scale 1."""


@dataclass(slots=True)
class Cell:
    """One task in one merge: sums over all tensors, and over those of each layer."""

    whole: Sums = field(default_factory=dict)
    layers: dict[int, Sums] = field(default_factory=dict)

    def add(self, layer: int | None, **terms: float) -> None:
        """Add the terms of one tensor."""
        for sums in (self.whole, *([] if layer is None else [self.layers.setdefault(layer, {})])):
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value


Cells = list[list[Cell]]
"""Of each entry, one per task."""


def measure(setup: Setup, scales: Sequence[Sequence[float]]) -> tuple[Cells, float]:
    """The sums of every entry and task; ``scales`` are those of each entry. Also the base's squared norm."""
    cells = [[Cell() for _ in setup.plans[0].models] for _ in setup.entries]
    base_energy = 0.0
    with TemporaryDirectory(dir=None) as scratch:
        folder = Path(scratch)
        plans = [one.plan for one in attach_moments(setup, setup.plans, folder, lambda *_: None)]
        jobs, sizes = merge_jobs(plans, folder / "merged")
        (folder / "merged").mkdir(exist_ok=True)
        create(sizes)
        names = LayerNames(setup.plans[0].base.tensors, setup.plans[0].base.config)
        for number, job in enumerate(jobs, 1):
            base_energy += _measure_tensor(job, cells, scales, names.number(job.name))
            say(f"{number}/{len(jobs)} {job.name}")
    return cells, base_energy


def _measure_tensor(job: MergeJob, cells: Cells, scales: Sequence[Sequence[float]], layer: int | None) -> float:
    result = merge_tensor(job)
    task = job.variants[0].task
    with TensorReader() as reader:
        vectors = TaskVectors(task, TaskReader(reader, job.labels))
        deltas = [vectors[index] for index in range(len(vectors))]
        base = frobenius(vectors.base) ** 2
    matrix = task.kind == "matrix"
    tops = _tops(deltas) if matrix else None
    for variant, stored in zip(job.variants, result.stored, strict=True):
        merged = stored.read()
        if variant.task.transposed and merged.shape != tuple(deltas[0].shape):
            merged = merged.mT
        own = [scales[user] for user in variant.users]
        rows = terms_of(merged, deltas, matrix=matrix, scales=own, tops=tops)
        for place, user in enumerate(variant.users):
            for index, terms in enumerate(rows[place]):
                cells[user][index].add(layer, base=base, **terms)
    return base


def _tops(deltas: Sequence[Delta]) -> list[Directions]:
    shape, tasks = (deltas[0].shape[0], deltas[0].shape[1]), len(deltas)
    held = [delta.rank if isinstance(delta, LowRank) else None for delta in deltas]
    return [
        Spectrum.of(delta, rank_of("auto", shape, tasks, rank)).leading
        for delta, rank in zip(deltas, held, strict=True)
    ]


def terms_of(
    merged: Tensor,
    deltas: Sequence[Delta],
    *,
    matrix: bool,
    scales: Sequence[Sequence[float]],
    tops: Sequence[Directions] | None = None,
) -> list[list[Sums]]:
    """The terms of every task in a merge at scale 1, once for each list of scales."""
    merged_energy = inner(merged, merged)
    norms = [inner(delta, delta) for delta in deltas]
    common = [
        {"norm": norm, "merged": merged_energy, "along": inner(merged, delta)}
        for delta, norm in zip(deltas, norms, strict=True)
    ]
    if not matrix:
        return [[dict(terms) for terms in common] for _ in scales]
    tops = _tops(deltas) if tops is None else tops
    whole = Spectrum.of(merged, min(merged.shape))
    held = whole.holding(ENERGY)
    at_random = _random_directions(merged.shape[0], held.count)
    leading = resolve_equal_values(whole.leading, deltas)
    shares, energy = shares_held(leading, deltas), leading.values.square()
    apart, outside = deviation(merged, tops), residual(merged, tops)
    for index, (delta, norm, top) in enumerate(zip(deltas, norms, tops, strict=True)):
        strength = float(top.values.sum())
        common[index] |= {
            "matrix_norm": norm,
            "inside": float(left_coordinates(held.left, delta).square().sum()),
            "inside_at_random": float(left_coordinates(at_random, delta).square().sum()),
            "consistent": directional_consistency(top, whole.leading.left) * strength,
            "strength": strength,
            **disturbance_terms(top, merged),
            **({} if apart is None else {"apart": apart * merged_energy, "apart_weight": merged_energy}),
            **({} if outside is None else {"outside": outside * merged_energy, "outside_weight": merged_energy}),
        }
    rows = []
    for own in scales:
        accumulated = {}
        for scale in own:
            counted = (scale * shares).clamp(min=1 / max(1, len(shares))).mean(dim=0) if len(shares) else energy * 0
            # Each direction's share is of the task's response, so it grows with the scale; the weights do not.
            accumulated[f"accumulated at {scale:g}"] = float((counted * energy).sum())
        accumulated["accumulated_weight"] = float(energy.sum())
        rows.append([{**terms, **accumulated} for terms in common])
    return rows


def _random_directions(height: int, count: int) -> Tensor:
    """As many orthonormal directions, drawn once per shape: what a subspace of this size covers by chance."""
    generator = torch.Generator().manual_seed(height * 100_003 + count)
    return torch.linalg.qr(torch.randn(height, max(count, 1), dtype=torch.float64, generator=generator))[0][:, :count]


def figures_at(sums: Sums, scale: float) -> dict[str, float | None]:
    """The figures of one task in one merge at a scale, from sums of the merge at scale 1."""
    norm, merged, along = sums["norm"], scale**2 * sums["merged"], scale * sums["along"]
    distance = max(0.0, merged - 2 * along + norm)
    return {
        "share_held": _over(along, norm),
        "merged_norm": _root(merged, norm),
        "merged_of_base": _root(merged, sums["base"]),
        "distance": _root(distance, norm),
        "distance_of_base": _root(distance, sums["base"]),
        "foreign": _root(max(0.0, merged - along**2 / norm) if norm else 0.0, norm),
        "relative_norm": _root(norm, sums["base"]),
        "alignment": _root(sums.get("inside"), sums.get("matrix_norm")),
        "random_alignment": _root(sums.get("inside_at_random"), sums.get("matrix_norm")),
        "consistency": _over(sums.get("consistent"), sums.get("strength")),
        "disturbance": _disturbance(sums, scale),
        "accumulated": _over(sums.get(f"accumulated at {scale:g}"), sums.get("accumulated_weight")),
        "deviation": _over(sums.get("apart"), sums.get("apart_weight")),
        "residual": _over(sums.get("outside"), sums.get("outside_weight")),
    }


def _disturbance(sums: Sums, scale: float) -> float | None:
    if "answered" not in sums:
        return None
    away = scale**2 * sums["response"] - 2 * scale * sums["answered"] + sums["own_response"]
    return _root(max(0.0, away), sums["own_response"])


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _root(part: float | None, whole: float | None) -> float | None:
    ratio = _over(part, whole)
    return None if ratio is None else math.sqrt(max(0.0, ratio))


def by_task(setup: Setup, cells: Cells, scales: Sequence[Sequence[float]]) -> Iterator[dict[str, Any]]:
    """One row per entry, scale and task."""
    for entry, own, of_entry in zip(setup.entries, scales, cells, strict=True):
        for scale in own:
            for model, cell in zip(setup.plans[0].models, of_entry, strict=True):
                layers = {str(layer): figures_at(sums, scale) for layer, sums in sorted(cell.layers.items())}
                yield {
                    "method": entry.name, "scale": scale, "task": model.label,
                    "figures": figures_at(cell.whole, scale), "layers": layers,
                }  # fmt: skip
