"""Objectives that need no label. Each is computed in at least float32, and is a mean, so that batches compare.

Logits may hold ``-inf`` (entries that cannot be predicted) and be as large as their dtype allows.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LEAST_LOG = -1e30
"""The smallest logarithm of a probability: probabilities this small add nothing, and sums of logarithms stay finite."""

_LEAST_NORM = 1e-12
"""Features shorter than this count as having no direction."""


def prediction_entropy(logits: Float[Tensor, "*b c"], mask: Bool[Tensor, "*b"] | None = None) -> Float[Tensor, ""]:
    """Mean of ``H(softmax(logits))`` in nats over rows: 0 where predictions are certain, ``log c`` at most.

    Source: AdaMerging (arXiv 2310.02575) equation 4; ``L_entropy`` of MDA (arXiv 2512.00391) section 4.2.

    Raises:
        ValueError: the mask leaves no row.
    """
    log = _log_softmax(_rows(logits, mask))
    return -(log.exp() * log).sum(dim=-1).mean()


def alignment(
    rotated: Float[Tensor, "b d"], predicted: Int[Tensor, " b"], prototypes: Float[Tensor, "d c"]
) -> Float[Tensor, ""]:
    """Mean of ``|| R z/||z|| - e ||^2`` over rows, ``e`` the prototype of the class that each row was predicted as.

    ``rotated`` is ``R z`` of any length, which a rotation preserves. A feature of length zero is at distance 1.

    Source: ``L_align`` of MDA (arXiv 2512.00391) section 4.2.
    """
    features = _wide(rotated)
    norm = torch.linalg.vector_norm(features.detach(), dim=-1, keepdim=True)
    nonzero = torch.where(norm > _LEAST_NORM, features, torch.ones_like(features))
    unit = torch.where(norm > _LEAST_NORM, nonzero / torch.linalg.vector_norm(nonzero, dim=-1, keepdim=True), 0.0)
    return (unit - prototypes.to(unit).mT[predicted]).square().sum(dim=-1).mean()


def distillation(
    student_logits: Float[Tensor, "*b c"],
    teacher_logits: Float[Tensor, "*b c"],
    temperature: float = 1.0,
    mask: Bool[Tensor, "*b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of ``tau^2 KL(softmax(teacher / tau) || softmax(student / tau))`` in nats over rows, or those of the mask.

    The square keeps gradients at one size for every temperature. The teacher takes no gradient.

    Source: Hinton, Vinyals and Dean 2015 (arXiv 1503.02531) section 2.

    Raises:
        ValueError: the temperature is not positive, or the mask leaves no row.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature must be positive, got {temperature}")
    teacher = _log_softmax(_rows(teacher_logits.detach(), mask) / temperature)
    student = _log_softmax(_rows(student_logits, mask) / temperature)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=-1).mean()


def hidden_matching(
    student: Float[Tensor, "*b d"],
    teacher: Float[Tensor, "*b d"],
    mask: Bool[Tensor, "*b"] | None = None,
    energy: float | None = None,
) -> Float[Tensor, ""]:
    """Mean of ``||h_s - h_t||^2`` over rows, or those of the mask, as a share of the mean of ``||h_t||^2``.

    The share makes layers and tasks of different widths and scales count alike. The teacher takes no gradient.
    ``energy`` is the mean of ``||h_t||^2`` over all rows of a task, for use where the given rows are only some of
    them: shares of the same whole add up over batches.

    Source: FitNets (Romero et al., arXiv 1412.6550) section 2.2, without their regressor: the widths are equal.

    Raises:
        ValueError: the mask leaves no row.
    """
    target, student_rows = _rows(teacher.detach(), mask), _rows(student, mask)
    whole = target.square().sum(dim=-1).mean() if energy is None else target.new_tensor(energy)
    return (student_rows - target).square().sum(dim=-1).mean() / whole.clamp(min=torch.finfo(target.dtype).tiny)


def logits_matching(
    student: Float[Tensor, "b c"], teacher: Float[Tensor, "b c"], spread: float | None = None
) -> Float[Tensor, ""]:
    """Mean of ``||s - t||^2`` over rows of logits less their mean over classes, as a share of the teacher's spread.

    ``spread`` is the mean of ``||t - mean t||^2`` over all rows of a task; by default, over the rows given. Only the
    features that the head sees count, and of them only what tells classes apart. The teacher takes no gradient.

    Source: Ba and Caruana (arXiv 1312.6184) section 2.1, with logits that are centred, as softmax takes no notice of
    their mean.

    Raises:
        ValueError: there are no rows.
    """
    target, ours = centred(_rows(teacher.detach(), None)), centred(_rows(student, None))
    whole = logits_spread(target) if spread is None else target.new_tensor(spread)
    return (ours - target).square().sum(dim=-1).mean() / whole.clamp(min=torch.finfo(target.dtype).tiny)


def logits_spread(logits: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """How far logits are from their mean over rows: the mean squared distance, each row less its mean over classes."""
    rows = centred(_wide(logits))
    return (rows - rows.mean(dim=0)).square().sum(dim=-1).mean()


def centred(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """Logits less each row's mean, which decides no prediction."""
    return logits - logits.mean(dim=-1, keepdim=True)


def class_sums(
    features: Float[Tensor, "b d"], predicted: Int[Tensor, " b"], classes: int
) -> tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]:
    """Sums of ``z/||z||`` over the features predicted as each class, in columns, and the number of those features.

    The sums of passes add up to those of a step; divided by the counts they are the means.
    """
    # A matrix product: on a GPU, adding row by row happens in any order and does not repeat to the bit.
    member = torch.nn.functional.one_hot(predicted.long(), classes)
    unit = torch.nn.functional.normalize(_wide(features), dim=1)
    return unit.mT @ member.to(unit.dtype), member.sum(dim=0)


def class_means(
    features: Float[Tensor, "b d"], predicted: Int[Tensor, " b"], classes: int
) -> tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]:
    """``Zbar``, the mean of ``z/||z||`` over the features predicted as each class, in columns, and their number.

    The column of a class that is never predicted is zero, so that it adds nothing to ``E Zbar^T``.

    Source: MDA (arXiv 2512.00391) section 4.2.
    """
    sums, counts = class_sums(features, predicted, classes)
    return sums / counts.clamp(min=1), counts


def _log_softmax(logits: Float[Tensor, "rows c"]) -> Float[Tensor, "rows c"]:
    return torch.log_softmax(logits, dim=-1).clamp(min=_LEAST_LOG)


def _rows(values: Float[Tensor, "*b c"], mask: Bool[Tensor, "*b"] | None) -> Float[Tensor, "rows c"]:
    """The rows that the mask selects, in at least float32: the values of padding tokens are never read."""
    rows = values.reshape(-1, values.shape[-1]) if mask is None else values[mask]
    if not len(rows):
        raise ValueError("a mean over no rows: the batch is empty, or its mask leaves nothing")
    return _wide(rows)


def _wide(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return values if values.dtype == torch.float64 else values.to(torch.float32)
