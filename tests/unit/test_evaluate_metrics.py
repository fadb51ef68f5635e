"""Accuracy and the share of the gain, on cases that are known by hand."""

import pytest
import torch

from mergeometry.errors import DataError
from mergeometry.evaluate.metrics import Head, accuracy, gain_kept

HEAD = Head(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 0.5]))


def test_accuracy_counts_the_classes_found() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.2, 0.0], [1.0, 0.5]])
    assert HEAD.predict(features).tolist() == [0, 1, 1, 0]
    assert accuracy(HEAD, features, [0, 1, 0, 0]) == 0.75


def test_accuracy_needs_a_label_for_each_text() -> None:
    for labels in ([], [0], [0, 1, 0]):
        with pytest.raises(DataError, match="one label for each text"):
            accuracy(HEAD, torch.zeros(2, 2), labels)


def test_gain_kept_is_one_for_the_experts_and_zero_for_the_base() -> None:
    base, experts = {"a": 0.5, "b": 0.7}, {"a": 0.9, "b": 0.8}
    assert gain_kept(experts, base, experts) == pytest.approx(1)
    assert gain_kept(base, base, experts) == pytest.approx(0)
    assert gain_kept({"a": 0.7, "b": 0.65}, base, experts) == pytest.approx(0.15 / 0.5)


def test_gain_kept_of_no_gain_is_an_error() -> None:
    with pytest.raises(DataError, match="gain nothing"):
        gain_kept({"a": 0.6}, {"a": 0.5}, {"a": 0.5})
