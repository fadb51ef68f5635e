"""Accuracy and the share of the gain, on cases that are known by hand."""

import pytest
import torch

from mergeometry.comparison.gain import score
from mergeometry.encoders.heads import Head, accuracy
from mergeometry.errors import DataError

HEAD = Head(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 0.5]))


def test_accuracy_counts_the_classes_found() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.2, 0.0], [1.0, 0.5]])
    assert HEAD.predict(features).tolist() == [0, 1, 1, 0]
    assert accuracy(HEAD, features, [0, 1, 0, 0]) == 0.75


def test_accuracy_needs_a_label_for_each_text() -> None:
    for labels in ([], [0], [0, 1, 0]):
        with pytest.raises(DataError, match="one label per text"):
            accuracy(HEAD, torch.zeros(2, 2), labels)


def test_the_share_of_the_gain_is_one_for_the_experts_and_zero_for_the_base() -> None:
    base = {"a": [1, 0, 0, 0], "b": [1, 1, 0, 0, 0]}
    experts = {"a": [1, 1, 1, 0], "b": [1, 1, 1, 1, 0]}
    assert score(experts, base, experts).gain_kept == pytest.approx(1)
    assert score(base, base, experts).gain_kept == pytest.approx(0)
    merged = {"a": [1, 1, 0, 0], "b": [1, 0, 0, 0, 0]}
    assert score(merged, base, experts).gain_kept == pytest.approx((0.25 - 0.2) / (0.5 + 0.4))
