"""Which terms of the objective move coefficients, and which the rotations."""

from __future__ import annotations

import torch

from mergeometry.encoders.heads import Head
from mergeometry.learning.objective import Objective, TaskTerms
from mergeometry.learning.rotation import FullRotation
from mergeometry.recipe.adapt import CoefficientsFrom, LossWeights


def gradients(weights: LossWeights, source: CoefficientsFrom) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The objective's value, and its gradients by features (through which coefficients learn) and by the rotation."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(6, 5, generator=generator).requires_grad_()
    head = Head(torch.randn(3, 5, generator=generator), torch.zeros(3))
    rotation = FullRotation(5)
    with torch.no_grad():
        rotation.coordinates.copy_(0.2 * torch.randn(rotation.coordinates.shape, generator=generator))
    terms = [TaskTerms(head, torch.linalg.qr(torch.randn(5, 3, generator=generator))[0], None)]
    objective = Objective(weights, coefficients_from=source)
    measured = objective.measure(features, [0] * 6, {}, terms, [rotation], [6], [head])
    measured.loss.backward()
    assert features.grad is not None
    turn = rotation.coordinates.grad
    return float(measured.loss.detach()), features.grad, torch.zeros(1) if turn is None else turn


def test_entropy_alone_moves_coefficients_and_the_other_terms_the_rotations() -> None:
    both, entropy, align = (LossWeights(*given, beta=0.0, distill=0.0, hidden=0.0)
                            for given in ((1.0, 0.8), (1.0, 0.0), (0.0, 0.8)))  # fmt: skip
    value, by_features, by_turn = gradients(both, "entropy")
    plain, features_of_all, turn_of_all = gradients(both, "all")
    assert value == plain
    assert torch.allclose(by_features, gradients(entropy, "all")[1], atol=1e-7)
    assert torch.allclose(by_turn, gradients(align, "all")[2], atol=1e-7)
    assert not torch.allclose(by_features, features_of_all, atol=1e-3)
    assert not torch.allclose(by_turn, turn_of_all, atol=1e-3)
