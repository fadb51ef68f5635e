"""The linear head of a task: fitted on the base's features, then frozen.

Because all models share the head, they are comparable: experts and merges differ only in their features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders.heads import Head
from mergeometry.execution.threads import one_thread

_PENALTIES = (1e-3, 1e-2, 1e-1, 3e-1, 1.0)
_FOLDS = 5  # texts come in random order, so that every fifth one is a random fold


def fit_head(features: Float[Tensor, "texts d"], labels: Sequence[int], classes: int) -> Head:
    """Return the head of the penalty that predicts training texts best when they are left out of the fit.

    Only training texts are used: a head that has seen validation texts makes the base, and merges close to it, look
    better on them than they are. Among equal penalties the strongest is taken.
    """
    fold = torch.arange(len(labels)) % _FOLDS
    targets = torch.tensor(labels)

    def correct(penalty: float) -> int:
        count = 0
        for number in range(_FOLDS):
            own, others = fold == number, fold != number
            head = fit_with_penalty(features[others], targets[others].tolist(), classes, penalty)
            count += int((head.predict(features[own]) == targets[own]).sum())
        return count

    best = max(sorted(_PENALTIES, reverse=True), key=correct)
    return fit_with_penalty(features, labels, classes, best)


def fit_with_penalty(features: Float[Tensor, "texts d"], labels: Sequence[int], classes: int, penalty: float) -> Head:
    """Return the minimiser of mean cross-entropy plus ``penalty / 2`` times the squared weights.

    Features are centred and brought to unit mean variance inside, so that one set of penalties suits all.
    """
    targets = torch.tensor(labels)
    centre = features.mean(0)
    spread = (features - centre).square().mean().sqrt()
    inputs = ((features - centre) / spread).double()
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=300, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        logits = torch.nn.functional.linear(inputs, weight, bias)
        value = torch.nn.functional.cross_entropy(logits, targets) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    with one_thread(), torch.enable_grad():
        solver.step(objective)  # pyright: ignore[reportArgumentType]
    scaled = weight.detach() / spread.double()
    return Head(scaled.float(), (bias.detach() - scaled @ centre.double()).float())


def save_head(head: Head, path: Path) -> None:
    """Write the head as a safetensors file with ``weight`` and ``bias``."""
    from safetensors.torch import save_file  # noqa: PLC0415

    save_file({"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}, path)


def load_head(path: Path) -> Head:
    """Read what ``save_head`` wrote."""
    from safetensors.torch import load_file  # noqa: PLC0415

    tensors = load_file(path)
    return Head(tensors["weight"], tensors["bias"])
