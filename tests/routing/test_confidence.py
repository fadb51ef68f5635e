"""How sure a router is: probabilities that hold for inputs it was not fitted to."""

from __future__ import annotations

from statistics import mean

import pytest
import torch

from mergeometry.routing.confidence import confidence
from mergeometry.routing.discriminant import discriminant


def test_probabilities_are_those_at_which_held_out_examples_are_right() -> None:
    torch.manual_seed(3)
    means = torch.randn(8, 40)
    groups, fresh = ([one + 3 * torch.randn(count, 40) for one in means] for count in (32, 200))
    weight, bias = discriminant(groups)
    divisor, held_out = confidence(groups)
    right, before, after = [], [], []
    for place, group in enumerate(fresh):
        scores = group.double() @ weight.T + bias
        right += (scores.argmax(dim=1) == place).tolist()
        before += torch.softmax(scores, dim=1).amax(dim=1).tolist()
        after += torch.softmax(scores / divisor, dim=1).amax(dim=1).tolist()
    assert mean(before) > mean(right) + 0.08 and abs(mean(after) - mean(right)) < 0.03
    assert held_out is not None and abs(held_out - mean(right)) < 0.06
    losses = [held_out_loss(groups, divisor * change) for change in (0.97, 1, 1.03)]
    assert losses[1] < min(losses[0], losses[2])


def held_out_loss(groups: list[torch.Tensor], divisor: float) -> float:
    """The mean log loss of every example, by the groups without the fifth of the examples that it is in."""
    losses = []
    for fold in range(5):
        rest = [torch.stack([row for n, row in enumerate(group) if n % 5 != fold]) for group in groups]
        weight, bias = discriminant(rest)
        for place, group in enumerate(groups):
            for row in group[fold::5].double():
                losses.append(float(-torch.log_softmax((row @ weight.T + bias) / divisor, dim=0)[place]))
    return mean(losses)


def test_groups_that_are_told_apart_without_a_fault_or_hold_one_example_keep_their_scores() -> None:
    apart = [torch.randn(6, 3, generator=torch.Generator().manual_seed(place)) + 90 * place for place in range(2)]
    assert confidence(apart) == pytest.approx((1.0, 1.0))
    assert confidence([apart[0][:1], apart[1]]) == (1.0, None)
