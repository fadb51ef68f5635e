"""Parts of a merge under coefficients: the scaled merge at the start, and gradients as autograd has them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mergeometry.conformance.checks import accepts
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.learnable import Dense, Thin, learnable_of
from mergeometry.methods import registry
from mergeometry.values import LowRank
from tests.helpers.learning_runs import drawn

GRANULARITIES = ("task", "layer", "tensor", "direction", "pair")


def updates(kind: str, shape: tuple[int, int] = (9, 6)) -> list[Tensor | LowRank]:
    thin = [LowRank(drawn(t, shape[0], 2), torch.eye(2) * 0.7, drawn(10 + t, shape[1], 2)) for t in range(3)]
    return {
        "dense": [drawn(t, *shape) for t in range(3)],
        "thin": thin,
        "zero": [thin[0], LowRank.zero(*shape), thin[2]],
        "zeros": [LowRank.zero(*shape)] * 3,
        "mixed": [thin[0], drawn(5, *shape), LowRank.zero(*shape)],
    }[kind]


WITH_PARTS = [
    name
    for name in registry.names()
    if registry.find(name).has_parts and accepts(registry.build(name, {}), 3, torch.zeros(9, 6))
]


@pytest.mark.parametrize("kind", ["dense", "thin", "zero", "zeros", "mixed"])
@pytest.mark.parametrize("name", WITH_PARTS)
def test_start_coefficients_give_the_scaled_merge(name: str, kind: str) -> None:
    settings: list[dict[str, Any]] = [{}]
    settings += [{"density": 0.4}] if name == "adamerging" else []
    settings += [{"simplex": simplex, "rank": 2} for simplex in ("tasks", "neurons", "none")] if name == "mda" else []
    for given in settings:
        method, deltas, weights = registry.build(name, given), updates(kind), [1.0, 0.5, 2.0]
        merged = method(deltas, weights)
        expected = 0.3 * (merged.dense(torch.float64) if isinstance(merged, LowRank) else merged.double())
        learnable = learnable_of(method.parts(deltas, weights))
        assert learnable.shape == (9, 6) and len(learnable.counts) == 3
        assert learnable.nbytes >= 4 * sum(learnable.counts)
        for granularity in (*GRANULARITIES, "fixed"):
            table = CoefficientTable(granularity, {"a.0.weight": learnable}, {"a.0.weight": 0.3})  # pyright: ignore
            found = learnable.update(table.of("a.0.weight")).double()
            assert torch.allclose(found, expected, atol=2e-6), (given, granularity)
            if isinstance(learnable, Thin):
                thin = learnable.low_rank(table.of("a.0.weight")).dense(torch.float64)
                assert torch.allclose(thin, expected, atol=2e-6), (given, granularity)
        if kind == "zeros" and method.stays_low_rank:
            assert isinstance(learnable, Thin) and learnable.counts == (0, 0, 0)


def test_a_part_is_one_tasks_alone() -> None:
    """Coefficients of one task at zero leave what the other tasks add."""
    deltas, weights = updates("dense"), [1.0, 0.5, 2.0]
    for name in WITH_PARTS:
        parts = registry.build(name, {}).parts(deltas, weights)
        learnable = learnable_of(parts)
        table = CoefficientTable("task", {"w": learnable}, {"w": 1.0})
        table.parameters["all@1.0"][1] = 0.0
        dense = [part.dense() if isinstance(part, LowRank) else part for part in parts]
        assert torch.allclose(learnable.update(table.of("w")), dense[0] + dense[2], atol=2e-5), name


@pytest.mark.parametrize("name", [name for name in registry.names() if not registry.find(name).has_parts])
def test_methods_without_parts_say_so(name: str) -> None:
    method = registry.build(name, {})
    with pytest.raises(ValueError, match=f"{type(method).__name__} has no part for each task"):
        method.parts(updates("dense"), [1.0] * 3)


def learnables() -> list[tuple[str, Any, Tensor]]:
    left, right = drawn(1, 7, 5).double(), drawn(2, 4, 5).double()
    thin = Thin(left, drawn(3, 5).double().abs(), right, (2, 0, 3))
    dense = Dense(tuple(drawn(4 + t, 7, 4).double() for t in range(3)))
    vector = Dense(tuple(drawn(8 + t, 6).double() for t in range(2)))
    return [
        ("directions", thin, drawn(11, 5).double()),
        ("pairs", thin, drawn(12, 5, 5).double()),
        ("dense", dense, drawn(13, 3).double()),
        ("vector", vector, drawn(14, 2).double()),
    ]


@pytest.mark.parametrize("case", learnables(), ids=lambda case: case[0])
def test_pull_back_is_autograd(case: tuple[str, Any, Tensor]) -> None:
    _, learnable, coefficients = case

    def written_out(c: Tensor) -> Tensor:
        if isinstance(learnable, Dense):
            return sum((own * part for own, part in zip(c, learnable.parts, strict=True)), torch.zeros(()).double())
        middle = torch.diag(c * learnable.values)
        if c.ndim == 2:
            middle = c * torch.outer(learnable.values, learnable.values).sqrt()
        return learnable.left @ middle @ learnable.right.T

    assert torch.allclose(learnable.update(coefficients), written_out(coefficients), atol=1e-12)
    gradient = drawn(20, *learnable.shape).double()
    c = coefficients.clone().requires_grad_()
    (written_out(c) * gradient).sum().backward()
    assert c.grad is not None
    assert torch.allclose(learnable.pull_back(gradient, coefficients), c.grad, atol=1e-12)
