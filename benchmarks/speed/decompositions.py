"""Where a directional merge's time goes, and what other ways to decompose take: writes a section of the page.

``python -m benchmarks.speed.decompositions``: processor milliseconds of the steps of `tsv_m` of eight task vectors,
and of one decomposition and one polar factor by other ways, each with its error against float64.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from benchmarks.pages.page import write_page
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from benchmarks.speed.synthetic import decaying
from mergeometry.linalg.polar import polar
from mergeometry.linalg.svd import gram, symmetric_eigen, top_directions
from mergeometry.values import Directions

RESULT = ROOT / "benchmarks" / "results" / "decompositions.json"
SHAPES = ((768, 768), (3072, 768))
TASKS, KEPT, SPARE, ROUNDS = 8, 96, 32, 7
LAPACK: Any = scipy.linalg.lapack


def main() -> None:
    torch.set_num_threads(1)
    rows = [row for shape in SHAPES for row in measured(shape)]
    for row in rows:
        say(str(row))
    result = {"command": "python -m benchmarks.speed.decompositions", **circumstances(), "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    from benchmarks.speed.__main__ import TITLES  # noqa: PLC0415  (it imports every benchmark)

    write_page(RESULT.parent, ROOT / "docs" / "benchmarks.md", TITLES)


def measured(shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Every step and every other way on one shape."""
    taus = [task_vector(shape, task) for task in range(TASKS)]
    exact, single = taus[0].double(), taus[0]
    products, stacked = gram(exact), torch.cat([top_directions(tau, KEPT).left for tau in taus], dim=1)
    reference, factor = leading(*torch.linalg.svd(exact, full_matrices=False)), polar(stacked)[0]
    ways: list[tuple[str, Callable[[], Any], Callable[[Any], float] | None]] = [
        ("step: Gram matrix", lambda: gram(exact), None),
        ("step: its leading eigenvectors", lambda: symmetric_eigen(products, KEPT), None),
        ("step: left directions", lambda: exact @ reference.right, None),
        ("directions as they are found", lambda: top_directions(single, KEPT), lambda got: apart(got, reference)),
        ("directions, in float32 alone", lambda: in_float32(single), lambda got: apart(got, reference)),
        ("directions, float32 and then float64 among a third more of them", lambda: corrected(single),
         lambda got: apart(got, reference)),
        ("directions, a Chebyshev filter on a block", lambda: filtered(single), lambda got: apart(got, reference)),
        ("polar factor as it is found", lambda: polar(stacked)[0], lambda got: distance(got, factor)),
        ("polar factor, Newton-Schulz in float32", lambda: newton_schulz(stacked.float()),
         lambda got: distance(got.double(), factor)),
        ("polar factor, Newton-Schulz in float32, one step of Newton's in float64", lambda: polished(stacked),
         lambda got: distance(got, factor)),
    ]  # fmt: skip
    found = []
    for name, way, error in ways:
        got = way()
        seconds = min(spent(way) for _ in range(ROUNDS))
        found.append({"shape": list(shape), "way": name, "ms": seconds * 1e3, "error": error(got) if error else None})
    return found


def task_vector(shape: tuple[int, int], task: int) -> Tensor:
    """A task vector as `benchmarks.speed.synthetic` draws them."""
    own = torch.Generator().manual_seed(1_000_000 * (task + 1))
    update = decaying(shape, 0.5 + 0.7 * float(torch.rand((), generator=own)), own)
    update += 0.2 * decaying(shape, 1.0, torch.Generator().manual_seed(0))
    return update + 0.01 / max(shape) ** 0.5 * torch.randn(shape, generator=own)


def in_float32(tau: Tensor, count: int = KEPT) -> Directions:
    """Gram matrix and eigenvectors in float32."""
    size = tau.shape[1]
    products = (tau.mT @ tau).numpy()
    _, vectors = scipy.linalg.eigh(products, driver="evr", subset_by_index=(size - count, size - 1))
    right = torch.from_numpy(np.ascontiguousarray(vectors[:, ::-1]))
    left = tau @ right
    values = left.norm(dim=0)
    return Directions((left / values).double(), values.double(), right.double())


def corrected(tau: Tensor) -> Directions:
    """The leading directions in float64 among a third more of them from float32."""
    return within(tau.double(), in_float32(tau, KEPT + SPARE).right)


def within(tau: Tensor, block: Tensor) -> Directions:
    """The leading directions of a matrix on the span of some right vectors, in float64."""
    basis, _ = torch.linalg.qr(block)
    images = tau @ basis
    eigenvalues, turn = torch.linalg.eigh(images.mT @ images)
    values, turn = eigenvalues.flip(0)[:KEPT].sqrt(), turn.flip(1)[:, :KEPT]
    return Directions(images @ turn / values, values, basis @ turn)


def filtered(tau: Tensor, sweeps: int = 4, degree: int = 3) -> Directions:
    """Subspace iteration with Chebyshev polynomials of the Gram matrix, in float32, and float64 at the end.

    The polynomials are of a low degree: at a high one every column is the first direction, to float32's rounding.
    """
    products = tau.mT @ tau
    block = torch.randn(tau.shape[1], KEPT + SPARE, generator=torch.Generator().manual_seed(0))
    block, _ = torch.linalg.qr(products @ block)
    for _ in range(sweeps):
        bound = float(torch.linalg.eigvalsh(block.mT @ products @ block)[0]) / 2
        before, now = block, (products @ block) / bound - block
        for _ in range(degree - 1):
            before, now = now, 2 * ((products @ now) / bound - now) - before
            size = now.norm()
            before, now = before / size, now / size
        block, _ = torch.linalg.qr(now)
    return within(tau.double(), block.double())


def newton_schulz(matrix: Tensor, limit: int = 40) -> Tensor:
    """The polar factor by the iteration ``X (3 I - X^T X) / 2``, until it is orthonormal to float32's rounding."""
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype)
    factor = matrix / torch.linalg.matrix_norm(matrix, 2)
    for _ in range(limit):
        products = factor.mT @ factor
        if float((products - identity).norm()) < 1e-4:
            break
        factor = factor @ (1.5 * identity - 0.5 * products)
    return factor


def polished(matrix: Tensor) -> Tensor:
    """What float32 gives, turned until ``X^T A`` is symmetric, to first order: in float64."""
    factor = newton_schulz(matrix.float()).double()
    factor = factor @ (1.5 * torch.eye(matrix.shape[1]).double() - 0.5 * factor.mT @ factor)
    inner = factor.mT @ matrix
    values, basis = torch.linalg.eigh((inner + inner.mT) / 2)
    skew = basis.mT @ ((inner - inner.mT) / 2) @ basis
    return factor + factor @ (basis @ (2 * skew / (values[:, None] + values)) @ basis.mT)


def leading(left: Tensor, values: Tensor, right: Tensor) -> Directions:
    return Directions(left[:, :KEPT], values[:KEPT], right[:KEPT].mT)


def apart(got: Directions, expected: Directions) -> float:
    """The relative distance of the matrices that the directions stand for."""
    return distance(got.low_rank().dense(torch.float64), expected.low_rank().dense(torch.float64))


def distance(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def spent(way: Callable[[], Any]) -> float:
    started = time.process_time()
    way()
    return time.process_time() - started


if __name__ == "__main__":
    main()
