"""Inputs for the laws: task vectors of every kind that breaks careless arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergeometry.values import Delta, LowRank

RANK = 3
"""Rank of low-rank examples, and of methods whose automatic rank would differ between two sides of a law."""


def hard_cases() -> list[tuple[str, list[Delta]]]:
    """Examples that break careless arithmetic, as (description, task vectors)."""
    normal = matrix(0, 12, 8)
    flat = torch.linalg.qr(normal)[0]
    thin = low_rank(0, 12, 8)
    cases: list[tuple[str, list[Delta]]] = [
        ("0-d", [drawn(seed, ()) for seed in range(2)]),
        ("vector", [drawn(seed, (7,)) for seed in range(2)]),
        ("4-d", [drawn(seed, (3, 2, 2, 2)) for seed in range(2)]),
        *((f"empty {shape}", [torch.zeros(shape)] * 2) for shape in ((0,), (0, 5), (5, 0), (0, 0))),
        *((f"shape {shape}", [drawn(seed, shape) for seed in range(2)]) for shape in ((1, 6), (6, 1), (1, 1), (2, 9))),
        ("more tasks than rank", [matrix(seed, 4, 3) for seed in range(8)]),
        ("rank deficient", [normal[:, :2] @ normal[:2], matrix(1, 12, 8)]),
        ("rank one", [torch.outer(normal[:, t], normal[t]) for t in range(3)]),
        (
            "one entry",
            [torch.zeros(12, 8).index_put((torch.tensor(3), torch.tensor(t)), torch.tensor(1.0)) for t in (1, 2)],
        ),
        ("a zero task vector", [normal, torch.zeros(12, 8, dtype=torch.float64), matrix(1, 12, 8)]),
        ("equal", [normal, normal]),
        ("opposite", [normal, -normal]),
        ("repeated singular values", [flat, flat.roll(1, dims=0)]),
        ("identities", [torch.eye(6), 2 * torch.eye(6)]),
        ("equal entries", [torch.ones(12, 8), torch.ones(12, 8)]),
        ("adapters of rank zero", [LowRank.zero(12, 8), thin]),
        ("only adapters of rank zero", [LowRank.zero(12, 8)] * 2),
        ("adapters of zeros", [LowRank(torch.zeros(12, 3), torch.eye(3), torch.zeros(8, 3)), thin]),
        ("adapters of higher rank than their sides", [low_rank(seed, 2, 8) for seed in range(2)]),
        ("equal adapters", [thin, thin]),
        ("opposite adapters", [thin, thin.scaled(-1.0)]),
        ("an adapter and a full model", [thin, normal]),
    ]
    for size in (1e-20, 1e20):
        cases.append((f"size {size}", [matrix(seed, 12, 8).float() * size for seed in range(3)]))
        cases.append((f"adapters of size {size}", [low_rank(seed, 12, 8).scaled(size) for seed in range(3)]))
        cases.append((f"size {size} with size 1", [matrix(0, 12, 8).float(), matrix(1, 12, 8).float() * size]))
    return cases


MOMENTS = ("usual", "of few rows", "of one entry", "of nothing", "small", "large")
"""Kinds of inputs whose moments `moment` makes, and whose information `fisher` makes."""


def moment(number: int, n: int, kind: str = "usual") -> Tensor:
    """The second moment of n inputs of a layer: random rows, different for each number."""
    rows = drawn(100 + number, (2 * n + 3, n)) / torch.arange(1, n + 1)
    if kind == "of few rows":
        rows = rows[:2]
    elif kind == "of one entry":
        rows = rows * torch.zeros(n).index_fill(0, torch.tensor([0] if n else [], dtype=torch.long), 1.0)
    elif kind != "usual":
        rows = rows * {"of nothing": 0.0, "small": 1e-12, "large": 1e12}[kind]
    return rows.mT @ rows / max(1, len(rows))


def fisher(number: int, shape: Sequence[int], kind: str = "usual") -> Tensor:
    """The Fisher information of a tensor: squares of very different sizes, different for each number."""
    values = drawn(300 + number, shape).square() * drawn(400 + number, shape).exp()
    if kind in ("of few rows", "of one entry"):
        values.view(-1)[1 if kind == "of one entry" else 5 :] = 0.0
        return values
    return values * {"usual": 1.0, "of nothing": 0.0, "small": 1e-12, "large": 1e12}[kind]


def drawn(seed: int, shape: Sequence[int]) -> Tensor:
    """A float64 tensor of normal numbers, one for each seed."""
    return torch.randn(tuple(shape), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def matrix(seed: int, m: int, n: int) -> Tensor:
    """A matrix with the spectrum 1, 1/2, 1/3, ... in random directions: no two values nearly tie."""
    short = min(m, n)
    left, right = (torch.linalg.qr(drawn(7 * seed + side, (side, short)))[0] for side in (m, n))
    return left / torch.arange(1, short + 1, dtype=torch.float64) @ right.mT


def matrices(m: int, n: int) -> list[Tensor]:
    """Three matrices, with seeds 0, 1 and 2."""
    return [matrix(seed, m, n) for seed in range(3)]


def low_rank(seed: int, m: int, n: int) -> LowRank:
    """An adapter-like matrix of rank `RANK`, held in float32."""
    core = torch.diag(1 / torch.arange(1, RANK + 1))
    return LowRank(drawn(2 * seed, (m, RANK)).float(), core, drawn(2 * seed + 1, (n, RANK)).float())
