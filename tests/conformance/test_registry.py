"""Every registered method obeys every law, at its defaults and at the settings that change the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mergeometry.conformance import CHECKS, Check, check
from mergeometry.methods import registry
from mergeometry.methods.base import Elementwise, Method, Rowwise, parameters

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "average": [{"normalize": False}],
    "task_arithmetic": [{"normalize": True}],
    "adamerging": [{"density": 1.0}, {"density": 0.2}],
    "breadcrumbs": [{"density": 1.0}, {"density": 0.5, "gamma": 0.3, "rescale": True, "normalize": True}],
    "breadcrumbs_ties": [{"density": 0.5, "gamma": 0.3}, {"density": 0.5, "rescale": True, "normalize": True}],
    "magnitude_prune": [{"density": 1.0}, {"density": 0.5}],
    "della": [{"density": 1.0}, {"density": 0.3, "epsilon": 0.25}, {"rescale": "l1", "normalize": False}],
    "della_linear": [{"density": 1.0}, {"density": 0.3, "epsilon": 0.25}, {"rescale": "l1", "normalize": True}],
    "sce": [{"select_topk": 0.3}, {"select_topk": 0.01}, {"uniform_below": 1.0}],
    "dare": [{"density": 1.0}, {"density": 0.5}, {"rescale": "l1", "normalize": True}],
    "dare_ties": [{"density": 1.0}, {"density": 0.5}, {"rescale": "l1", "normalize": False}],
    "esm": [{"rank": 2}, {"rank": 0.5}, {"power": 0.0}],
    "fisher": [{"normalize": False}, {"floor": 1e-3}, {"floor": 1e-30}],
    "regmean": [{"shrinkage": 1.0}, {"shrinkage": 0.0}],
    "knots": [{"density": 1.0}, {"density": 0.01}, {"combine": "sum"}],
    "wudi": [{"solver": "adam", "steps": 20, "learning_rate": 1e-3}],
    "ace": [{"threshold": 1e-6}],
    "slerp": [{"t": 0.0}, {"t": 0.25}, {"t": 1.0}, {"dot_threshold": 0.0}],
    "nuslerp": [{"flatten": False}, {"flatten": False, "row_wise": True}, {"origin": "zero"}],
    "multislerp": [{"normalize_weights": False}, {"origin": "zero"}],
    "karcher": [{"max_iter": 50, "tol": 1e-9}],
    "nearswap": [{"t": 0.0}, {"t": 1.0}],
    "pcb": [{"density": 1.0}],
    "ram": [{"epsilon": 0.0}, {"epsilon": 0.1}],
    "ramplus_tl": [{"epsilon": 0.1, "r": 0.5, "alpha": 1.0}],
    "model_stock": [{"filter_wise": True}, {"filter_wise": True, "clamp": False, "skip_zeros": False}],
    "ties": [{"density": 1.0}, {"density": 0.01}, {"density": 0.5, "rescale": True, "normalize": False}],
    "tsv_m": [{"rank": 2}, {"rank": 0.5}],
    "iso_cts": [{"common": 0.0}, {"common": 1.0}, {"rank": 0.5}],
    "mda": [
        *({"simplex": simplex} for simplex in ("tasks", "neurons", "none")),
        *({"simplex": simplex, "rank": 0.5} for simplex in ("directions", "tasks")),
        *({"sides": "left", "simplex": simplex} for simplex in ("directions", "none")),
        *({"subspace": "svd", "simplex": simplex} for simplex in ("directions", "neurons", "none")),
    ],
    "dc_merge": [
        {"smoothing": "average"},
        {"smoothing": "average", "keep": 1.0},
        {"smoothing": "linear", "rho": 3.0, "rank": 2},
        {"keep": 1.0},
        {"keep": 1.0, "block_mask": False},
        {"combine": "sum"},
        {"combine": "sum", "block_mask": False},
        {"combine": "mean", "smoothing": "linear", "rank": 0.5},
        {"combine": "mean", "block_mask": False},
    ],
}
METHODS = [(name, given) for name in registry.names() for given in [{}, *SETTINGS.get(name, [])]]


def label(value: object) -> str:
    if isinstance(value, Check):
        return value.name
    assert isinstance(value, tuple)
    return "-".join([value[0], *(f"{key}={setting}" for key, setting in value[1].items())])


@pytest.mark.parametrize("law", CHECKS, ids=label)
@pytest.mark.parametrize("named", METHODS, ids=label)
def test_law(named: tuple[str, dict[str, Any]], law: Check) -> None:
    law.run(registry.build(*named))


def test_each_law_is_stated() -> None:
    for law in CHECKS:
        assert len(law.law) > 40, f"{law.name} states no law"
    assert len({law.name for law in CHECKS}) == len(CHECKS)


class Broken(Elementwise):
    source = "none"


@parameters
class FirstOnly(Broken):
    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        return deltas[0] * weights[0]


@parameters
class InPlace(Broken):
    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        return deltas[0].mul_(0.5)


@parameters
class Offset(Broken):
    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        return deltas[0] + 1


@parameters
class Wide(Broken):
    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        return sum(delta.double() * weight for delta, weight in zip(deltas, weights, strict=True))  # type: ignore[return-value]


@parameters
class Squared(Broken):
    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        return sum(delta.square() for delta in deltas)  # type: ignore[return-value]


@parameters
class Claims(Broken):
    @property
    def equal_models(self) -> str:  # type: ignore[override]
        return "same"

    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        return sum(delta * weight for delta, weight in zip(deltas, weights, strict=True))  # type: ignore[return-value]


@parameters
class Random(Broken):
    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        return deltas[0] * torch.rand_like(deltas[0])


@parameters
class Centred(Rowwise):
    source = "none"

    def merge(self, deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
        total = sum(delta * weight for delta, weight in zip(deltas, weights, strict=True))
        return total - total.mean(dim=0)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (Centred(), "rows_alone"),
        (FirstOnly(), "order"),
        (InPlace(), "inputs_untouched"),
        (Offset(), "zero"),
        (Wide(), "shape_and_dtype"),
        (Squared(), "finite"),
        (Squared(), "scale"),
        (Claims(), "equal_models"),
        (Random(), "same_bytes"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Method) else value,
)
def test_a_broken_method_is_caught(method: Method, name: str) -> None:
    law = next(law for law in CHECKS if law.name == name)
    with pytest.raises(AssertionError, match=r"expected .*, got "):
        law.run(method)
    with pytest.raises(AssertionError, match=r"^\w+: expected "):
        check(method)
