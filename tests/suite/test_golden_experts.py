"""The references on real task vectors: the shipped adapters, as thin factors and multiplied out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mergeometry.methods import registry
from mergeometry.sources import TensorReader, open_adapter, read_factors
from mergeometry.values import LowRank
from mergeometry_suite.experts import SHIPPED
from mergeometry_suite.tasks import TEXT_8
from tests.helpers import reference

WEIGHTS = ("encoder.layer.5.attention.self.query.weight", "encoder.layer.2.output.dense.weight")
RANK = 16
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("average", {}, {}),
    ("task_arithmetic", {}, {}),
    ("ties", {"density": 0.2}, {"density": 0.2}),
    *((name, {"density": 0.3}, {"density": 0.3}) for name in ("dare", "dare_ties")),
    ("knots", {}, {}),
    *((name, {}, {}) for name in ("wudi", "swudi", "actmat", "ace")),
    ("swudi", {"keep": "auto", "filter": "none"}, {"keep": "auto", "filter": "none"}),
    ("reforge", {"rank": RANK}, {"rank": RANK}),
    ("adamerging", {}, {}),
    ("adamerging", {"density": 0.2}, {"density": 0.2}),
    ("tsv_m", {"rank": RANK}, {"rank": RANK}),
    ("iso_c", {}, {}),
    ("iso_cts", {"rank": 8 * RANK}, {"rank": 8 * RANK}),
    *(("mda", given, given) for given in ({"simplex": frame, "rank": RANK} for frame in ("directions", "tasks"))),
    *(("dc_merge", given, given) for given in ({"smoothing": how, "rank": RANK} for how in ("auto", "none", "linear"))),
]


@pytest.fixture(scope="module", params=WEIGHTS)
def factors(request: pytest.FixtureRequest) -> list[LowRank]:
    found = []
    with TensorReader() as reader:
        for task in TEXT_8:
            delta = open_adapter(SHIPPED / task, task).deltas[request.param]
            left, right = read_factors(reader.read, delta)
            found.append(LowRank(left, torch.eye(delta.rank) * delta.scaling, right.mT))
    assert len(found) == 8
    return found


@pytest.mark.suite
@pytest.mark.parametrize(("name", "given", "asked"), CASES, ids=str)
def test_agrees_on_real_task_vectors(
    name: str, given: dict[str, Any], asked: dict[str, Any], factors: list[LowRank]
) -> None:
    exact = [delta.dense(torch.float64) for delta in factors]
    for form, deltas in (("thin", factors), ("dense", exact)):
        by_form = {"adapters": form == "thin"} if name == "dc_merge" else {}
        expected = getattr(reference, name)([tau.numpy() for tau in exact], **asked, **by_form)
        merged = registry.build(name, given)(deltas)
        plain = merged.dense(torch.float64) if isinstance(merged, LowRank) else merged.double()
        error = np.linalg.norm(plain.numpy() - expected) / np.linalg.norm(expected)
        assert error <= 1e-4, f"{form}: expected a relative error of at most 1e-4, got {error:.2e}"
