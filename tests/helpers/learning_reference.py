"""Algorithm 2 and its relatives in float64 with plain autograd, one line of code for one line of mathematics.

Task vectors, shared subspaces, prototypes, rotations and every term of the objective are written out anew from their
definitions; of the package, nothing is used. transformers runs the model, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


def signed_svd(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The leading triplets, the entry of largest magnitude of each left vector positive."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    left, values, right = left[:, :count], values[:count], right[:count].T
    largest = left.abs().argmax(dim=0)
    sign = left[largest, torch.arange(count)].sign()
    return left * sign, values, right * sign


def polar(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def shared_parts(taus: Sequence[Tensor], simplex: bool) -> list[Tensor]:
    """Task t's column block of ``tau_share`` (TSV-M), or of ``M M^T tau_share`` with a vertex for each direction."""
    rank = min(taus[0].shape) // len(taus)
    found = [signed_svd(tau, rank) for tau in taus]
    U, V = polar(torch.cat([u for u, _, _ in found], dim=1)), polar(torch.cat([v for _, _, v in found], dim=1))
    S, r = torch.diag(torch.cat([s for _, s, _ in found])), rank * len(taus)
    if simplex:
        S = r / (r - 1) * (torch.eye(r).double() - torch.ones(r, r).double() / r) @ S
    return [U @ S[:, t * rank : (t + 1) * rank] @ V[:, t * rank : (t + 1) * rank].T for t in range(len(taus))]


def directions(parts: Sequence[Tensor], rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Singular triplets of each part side by side."""
    found = [signed_svd(part, rank) for part in parts]
    return (
        torch.cat([u for u, _, _ in found], dim=1),
        torch.cat([s for _, s, _ in found]),
        torch.cat([v for _, _, v in found], dim=1),
    )


def prototypes(weight: Tensor) -> Tensor:
    """``sqrt(C/(C-1)) polar(X)``, X the centred class weights in columns."""
    C = len(weight)
    left, values, right = torch.linalg.svd((weight.double() - weight.double().mean(dim=0)).T, full_matrices=False)
    assert values[C - 2] > 1e-6 * values[0] > values[C - 1]
    return math.sqrt(C / (C - 1)) * left[:, : C - 1] @ right[: C - 1]


def rotation_at(coordinates: Tensor, size: int) -> Tensor:
    """``C(S)^2``, C the Cayley transform of a quarter of the skew matrix of these coordinates."""
    rows, columns = torch.triu_indices(size, size, offset=1)
    S = torch.zeros(size, size).double().index_put((rows, columns), coordinates.double())
    S, I = S - S.T, torch.eye(size).double()  # noqa: E741
    root = torch.linalg.solve(I - S / 4, I + S / 4)
    return root @ root


def procrustes(E: Tensor, Zbar: Tensor) -> Tensor:
    """``A diag(1, .., 1, det(A B^T)) B^T`` of ``E Zbar^T + eps I``, eps falling to zero."""
    M = E @ Zbar.T
    A, _, B = torch.linalg.svd(M + 1e-7 * torch.linalg.matrix_norm(M, 2) * torch.eye(len(M)).double())
    sign = torch.ones(len(M)).double()
    sign[-1] = torch.linalg.det(A @ B).sign()
    return A @ torch.diag(sign) @ B


def entropy(logits: Tensor) -> Tensor:
    p = logits.softmax(dim=1)
    return -(p * p.log()).sum(dim=1).mean()


def align(turned: Tensor, predicted: Tensor, E: Tensor) -> Tensor:
    return ((turned / turned.norm(dim=1, keepdim=True) - E.T[predicted]) ** 2).sum(dim=1).mean()


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    p, q = (teacher / temperature).softmax(dim=1), (student / temperature).softmax(dim=1)
    return temperature**2 * (p * (p.log() - q.log())).sum(dim=1).mean()


def class_sums(features: Tensor, predicted: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    unit = features / features.norm(dim=1, keepdim=True)
    sums = torch.stack([unit[predicted == c].sum(dim=0) for c in range(classes)], dim=1)
    return sums, torch.stack([(predicted == c).sum() for c in range(classes)]).double()


@dataclass
class Task:
    head: tuple[Tensor, Tensor]
    E: Tensor | None = None
    Q: Tensor | None = None
    """Orthonormal basis of the subspace that the rotation turns in."""
    expert: Tensor | None = None
    """The expert's features of the step's rows."""
    energy: float = 1.0
    means: tuple[Tensor, Tensor] | None = None
    """Sums and counts of what was seen before."""
    sums: tuple[Tensor, Tensor] = field(init=False)

    def logits(self, features: Tensor) -> Tensor:
        return features @ self.head[0].double().T + self.head[1].double()


def features(model: Any, weights: Tensors, texts: Sequence[Sequence[int]]) -> Tensor:
    """The mean over tokens, text by text, so that nothing is padded."""
    found = []
    for text in texts:
        output = torch.func.functional_call(model, dict(weights), kwargs={"input_ids": torch.tensor([text])})
        found.append(output.last_hidden_state[0].mean(dim=0))
    return torch.stack(found)


def objective(
    z: Sequence[Tensor], turns: Sequence[Tensor | None], tasks: Sequence[Task], weights: Any, temperature: float
) -> Tensor:
    """``mean_t (entropy + alpha align + distill + hidden + beta ||R - R^P||^2)``; also leaves each task's sums."""
    total = torch.zeros(()).double()
    for own, turn, task in zip(z, turns, tasks, strict=True):
        R = torch.eye(own.shape[1]).double()
        if turn is not None:
            assert task.Q is not None
            R = R + task.Q @ (turn - torch.eye(len(turn)).double()) @ task.Q.T
        turned = own @ R.T
        logits = task.logits(turned)
        predicted = logits.argmax(dim=1)
        total = total + weights.entropy * entropy(logits)
        if weights.alpha:
            assert task.E is not None
            total = total + weights.alpha * align(turned, predicted, task.E)
        if task.expert is not None:
            total = total + weights.distill * divergence(logits, task.logits(task.expert), temperature)
            total = total + weights.hidden * ((turned - task.expert) ** 2).sum(dim=1).mean() / task.energy
        if weights.beta and turn is not None:
            assert task.E is not None and task.Q is not None and task.means is not None
            sums, counts = class_sums(own.detach(), predicted, len(task.head[0]))
            sums, counts = 0.9 * task.means[0] + sums, 0.9 * task.means[1] + counts
            Zbar = sums / counts.clamp(min=1e-6)
            target = procrustes(task.Q.T @ task.E, task.Q.T @ Zbar)
            total = total + weights.beta * ((turn - target) ** 2).sum()
    return total / len(tasks)
