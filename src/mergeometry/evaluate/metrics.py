"""What a merge is judged by: accuracy, and the share of the experts' gain that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.errors import DataError


@dataclass(frozen=True)
class Head:
    """A frozen linear classifier on an encoder's features."""

    weight: Float[Tensor, "classes d"]
    bias: Float[Tensor, " classes"]

    def logits(self, features: Float[Tensor, "texts d"]) -> Float[Tensor, "texts classes"]:
        """Return one score for each text and class."""
        return torch.nn.functional.linear(features, self.weight, self.bias)

    def predict(self, features: Float[Tensor, "texts d"]) -> Int[Tensor, " texts"]:
        """Return the class of the highest score; the first of several."""
        return self.logits(features).argmax(1)


def accuracy(head: Head, features: Float[Tensor, "texts d"], labels: Sequence[int]) -> float:
    """Return the share of texts whose class the head finds."""
    if len(labels) != len(features) or not labels:
        raise DataError(f"Accuracy needs one label for each text: {len(features)} texts, {len(labels)} labels.")
    return float((head.predict(features) == torch.tensor(labels)).float().mean())


def gain_kept(merged: Mapping[str, float], base: Mapping[str, float], experts: Mapping[str, float]) -> float:
    """Return ``sum_t (merged - base) / sum_t (expert - base)`` over the tasks of ``merged``.

    1 is as good as the experts together, 0 as the base; it can leave that range on either side.
    """
    gain = sum(experts[task] - base[task] for task in merged)
    if gain == 0:
        raise DataError("The experts gain nothing over the base, so there is no share of it to keep.")
    return sum(merged[task] - base[task] for task in merged) / gain
