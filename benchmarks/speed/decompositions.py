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
    whole = exact.mT @ exact
    reference, factor = leading(*torch.linalg.svd(exact, full_matrices=False)), polar(stacked)[0]
    ways: list[tuple[str, Callable[[], Any], Callable[[Any], float] | None]] = [
        ("step: Gram matrix", lambda: gram(exact), None),
        ("Gram matrix in float32 halves", lambda: in_halves(single), lambda got: distance(got, exact.mT @ exact)),
        ("step: its leading eigenvectors", lambda: symmetric_eigen(products, KEPT), None),
        ("all eigenvectors, as torch solves", lambda: torch.linalg.eigh(whole), None),
        ("step: left directions", lambda: exact @ reference.right, None),
        ("directions as they are found", lambda: top_directions(single, KEPT), lambda got: apart(got, reference)),
        ("directions, in float32 alone", lambda: in_float32(single), lambda got: apart(got, reference)),
        ("directions, float32 and then float64 among a third more of them", lambda: corrected(single),
         lambda got: apart(got, reference)),
        ("directions, a Chebyshev filter on a block", lambda: filtered(single), lambda got: apart(got, reference)),
        ("polar factor as it is found", lambda: polar(stacked)[0], lambda got: distance(got, factor)),
        ("step: all eigenvectors", lambda: symmetric_eigen(gram(stacked), stacked.shape[1]), None),
        ("polar factor, eigenvectors in float32, one step of Newton-Schulz in float64", lambda: rough(stacked),
         lambda got: distance(got, factor)),
        ("polar factor, scaled Newton", lambda: scaled_newton(stacked), lambda got: distance(got, factor)),
        ("polar factor, scaled Newton in float32, one step of Newton-Schulz in float64", lambda: nearly(stacked),
         lambda got: distance(got, factor)),
        ("polar factor, QDWH", lambda: qdwh(stacked), lambda got: distance(got, factor)),
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


def in_halves(tau: Tensor) -> Tensor:
    """The Gram matrix by products in float32 of numbers of twelve bits, which have no rounding of their own."""
    first = ((tau * 4097) - (tau * 4097 - tau)).contiguous()
    second = tau - first
    across = (first.mT @ second).double()
    return (first.mT @ first).double() + across + across.mT + (second.mT @ second).double()


def newton_schulz_step(factor: Tensor) -> Tensor:
    return factor @ (1.5 * torch.eye(factor.shape[1], dtype=factor.dtype) - 0.5 * factor.mT @ factor)


def rough(matrix: Tensor) -> Tensor:
    """The polar factor by eigenvectors of the Gram matrix in float32, and a step towards orthonormal columns."""
    values, basis = torch.linalg.eigh((matrix.mT @ matrix).float())
    values, basis = values.double(), basis.double()
    return newton_schulz_step(matrix @ (basis / values.clamp(min=float(values[-1]) * 1e-7).sqrt()) @ basis.mT)


def nearly(matrix: Tensor) -> Tensor:
    """Scaled Newton in float32, and a step towards orthonormal columns."""
    return newton_schulz_step(scaled_newton(matrix.float(), 1e-3).double())


def scaled_newton(matrix: Tensor, close: float = 1e-8, limit: int = 30) -> Tensor:
    """The polar factor by Newton's iteration ``(X + X^-T) / 2``, scaled by norms, of the triangle of a tall matrix."""
    basis, factor = torch.linalg.qr(matrix) if matrix.shape[0] > matrix.shape[1] else (None, matrix)
    for _ in range(limit):
        inverse = torch.linalg.inv(factor).mT
        norms = [torch.linalg.matrix_norm(one, order) for one in (inverse, factor) for order in (1, float("inf"))]
        scale = float((norms[0] * norms[1] / norms[2] / norms[3]) ** 0.25)
        following = (factor * scale + inverse / scale) / 2
        moved = float((following - factor).norm() / following.norm())
        factor = following
        if moved < close:
            break
    return factor if basis is None else basis @ factor


def qdwh(matrix: Tensor, limit: int = 10) -> Tensor:
    """The polar factor by Halley's iteration with dynamic weights (Nakatsukasa, Bai and Gygi 2010)."""
    factor, least = matrix / torch.linalg.matrix_norm(matrix), 1e-8
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype)
    for _ in range(limit):
        if abs(1 - least) < 1e-12:
            break
        root = (4 * (1 - least**2) / least**4) ** (1 / 3)
        one = (1 + root) ** 0.5
        one += (8 - 4 * root + 8 * (2 - least**2) / (least**2 * (1 + root) ** 0.5)) ** 0.5 / 2
        two = (one - 1) ** 2 / 4
        three = one + two - 1
        if three > 100:
            basis, _ = torch.linalg.qr(torch.cat([factor * three**0.5, identity]))
            above, below = basis.split([len(matrix), len(identity)])
            factor = factor * (two / three) + above @ below.mT * ((one - two / three) / three**0.5)
        else:
            triangle = torch.linalg.cholesky(identity + three * factor.mT @ factor)
            solved = torch.cholesky_solve(factor.mT, triangle).mT
            factor = factor * (two / three) + solved * (one - two / three)
        least = least * (one + two * least**2) / (1 + three * least**2)
    return factor


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
