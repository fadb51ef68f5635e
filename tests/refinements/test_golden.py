"""Every refinement against its slow reference, after several methods, on dense and thin task vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mergeometry.methods import registry as methods
from mergeometry.refinements import registry
from mergeometry.values import Delta, LowRank
from tests.helpers import reference, spectra

CASES: list[tuple[str, dict[str, Any]]] = [
    *(("svc", {"alpha": alpha}) for alpha in ("auto", 0.1, 1.0)),
    *(("norm", {"target": target, "factor": factor}) for target, factor in (("mean", 1.0), ("root_sum_square", 0.5))),
    ("pico", {}),
]
MERGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("task_arithmetic", {}, {}),
    ("average", {}, {}),
    ("tsv_m", {"rank": 3}, {"rank": 3}),
    ("iso_c", {}, {}),
]
RANK = 4


def plain(delta: Delta) -> torch.Tensor:
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta.double()


def error(got: Delta, expected: np.ndarray) -> float:
    return float(np.linalg.norm(plain(got).numpy() - expected) / np.linalg.norm(expected))


def test_every_refinement_has_a_reference() -> None:
    assert {name for name, _ in CASES} == set(registry.names())


@pytest.mark.parametrize("form", ["dense", "thin", "mixed"])
@pytest.mark.parametrize("merge", MERGES, ids=lambda merge: merge[0])
@pytest.mark.parametrize(("name", "given"), CASES, ids=str)
def test_agrees(name: str, given: dict[str, Any], merge: tuple[str, Any, Any], form: str) -> None:
    method, asked, told = merge
    law = {key: value for key, value in given.items() if value != "auto"}
    for seed, shape, tasks in ((0, (96, 64), 3), (1, (64, 96), 8), (2, (33, 7), 2)):
        deltas: list[Delta] = [torch.from_numpy(tau) for tau in spectra.task_vectors(seed, shape, tasks)]
        pairs = spectra.adapters(seed, shape, tasks, RANK)
        thin = [LowRank(torch.from_numpy(B), torch.eye(RANK), torch.from_numpy(A.T)) for B, A in pairs]
        if form != "dense":
            deltas = [*thin[:1], *deltas[1:]] if form == "mixed" else list(thin)
        taus = [plain(delta).numpy() for delta in deltas]
        expected = getattr(reference, method)(taus, **told)
        merged = methods.build(method, asked)(deltas)
        refined = registry.build(name, given)(merged, deltas)
        assert isinstance(refined, LowRank) == isinstance(merged, LowRank) == (form == "thin")
        found = error(refined, getattr(reference, name)(expected, taus, **law))
        assert found <= 1e-4, f"{form} {shape} T = {tasks}: expected a relative error of at most 1e-4, got {found:.1e}"
