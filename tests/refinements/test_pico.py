"""Pico before the merge and after it: what reaches the method, for adapters and full models, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.conventions.kinds import is_matrix
from mergeometry.refinements.pico import Pico
from mergeometry.values import Delta, LowRank
from tests.helpers import models, reference, spectra

RANK = 4


def plain(delta: Delta) -> torch.Tensor:
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta.double()


@pytest.mark.parametrize("form", ["thin", "dense", "mixed"])
@pytest.mark.parametrize(("shape", "tasks"), [((96, 64), 3), ((64, 96), 8), ((33, 7), 2)], ids=str)
def test_task_vectors_are_calibrated_as_published(form: str, shape: tuple[int, int], tasks: int) -> None:
    pairs = spectra.adapters(tasks, shape, tasks, RANK)
    deltas: list[Delta] = [LowRank(torch.from_numpy(B), torch.eye(RANK), torch.from_numpy(A.T)) for B, A in pairs]
    if form != "thin":
        deltas = [deltas[0] if form == "mixed" else plain(deltas[0]), *(plain(delta) for delta in deltas[1:])]
    taus = [plain(delta).numpy() for delta in deltas]
    before = [tau.copy() for tau in taus]
    untouched: list[Delta] = [LowRank.zero(*shape)]
    change = Pico().calibration([*deltas, *untouched])
    assert change is not None
    expected = reference.pico_calibrated(taus, [B for B, _ in pairs] if form == "thin" else None)
    for delta, wanted in zip(deltas, expected, strict=True):
        found = change(delta)
        assert type(found) is type(delta)
        assert float(np.linalg.norm(plain(found).numpy() - wanted)) <= 1e-5 * float(np.linalg.norm(wanted))
    assert all(np.array_equal(one, plain(delta).numpy()) for one, delta in zip(before, deltas, strict=True))


def test_one_task_crowds_nothing() -> None:
    tau = torch.ones(3, 2)
    assert Pico().calibration([tau]) is None
    assert Pico().calibration([tau, torch.zeros(3, 2), LowRank.zero(3, 2)]) is None


def test_a_direction_that_all_share_counts_once() -> None:
    """T equal B of one column: all squares are in one direction, so each task keeps 1/T of it and their sum is one."""
    delta = LowRank(torch.tensor([[3.0], [4.0]]), torch.eye(1), torch.tensor([[1.0], [2.0], [2.0]]))
    change = Pico().calibration([delta] * 5)
    assert change is not None
    assert torch.allclose(5 * plain(change(delta)), plain(delta))


@pytest.mark.parametrize(("method", "adapters"), [("task_arithmetic", 3), ("tsv_m", 0)])
def test_a_merge_is_calibrated_and_rescaled(tmp_path: Path, method: str, adapters: int) -> None:
    """The written bytes are base + scale * reference of calibrating, merging and restoring the norm."""
    family = models.write_family(tmp_path, adapters=adapters)
    recipe: dict[str, Any] = {**family, "method": {"name": method}, "scale": 0.7, "refine": ["pico"]}
    mg.merge(recipe, tmp_path / "merged", workers=1)
    taus, lefts = task_vectors(family, adapters)
    base, merged = models.loaded(Path(family["base"])), models.loaded(tmp_path / "merged")
    changed = 0
    for name, weight in base.items():
        if not (is_matrix(name, weight.shape) and name in taus):
            continue
        calibrated = reference.pico_calibrated(taus[name], lefts.get(name))
        rank = {} if method == "task_arithmetic" else {"rank": lefts[name][0].shape[1] if name in lefts else None}
        expected = reference.pico(getattr(reference, method)(calibrated, **rank), taus[name])
        found = (merged[name].double() - weight.double()).numpy() / 0.7
        assert float(abs(found - expected).max()) <= 1e-4 * float(abs(expected).max()) + 1e-6, name
        changed += 1
    assert changed


def task_vectors(family: dict[str, Any], adapters: int) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]]:
    """Each matrix's task vectors, and the B of those that adapters of alpha 4 hold, read from their files."""
    base = models.loaded(Path(family["base"]))
    taus: dict[str, list[np.ndarray]] = {}
    lefts: dict[str, list[np.ndarray]] = {}
    for place in family["models"]:
        own = models.loaded(Path(place), "adapter_model" if adapters else "model")
        for key, tensor in own.items():
            if not adapters:
                taus.setdefault(key, []).append((tensor.double() - base[key].double()).numpy())
            elif key.endswith("lora_B.weight"):
                name = key.removeprefix("base_model.model.").replace(".lora_B", "")
                down = own[key.replace("lora_B", "lora_A")].double()
                lefts.setdefault(name, []).append(tensor.double().numpy())
                taus.setdefault(name, []).append((4.0 / len(down) * tensor.double() @ down).numpy())
    return taus, lefts
