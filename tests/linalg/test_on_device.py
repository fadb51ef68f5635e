"""The decompositions by torch against LAPACK's and against full float64 SVDs, on tensors in main memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from mergeometry.errors import NumericalError
from mergeometry.linalg import backend, lapack, on_device, polar, svd
from mergeometry.linalg.batches import DeviceMemoryWarning, top_directions_of
from mergeometry.linalg.inner import inner
from mergeometry.linalg.normal import solve_gram
from mergeometry.linalg.order import LargestMagnitudes, order_statistics
from mergeometry.linalg.selection import magnitude_threshold, without_tails
from mergeometry.linalg.tolerances import DecompositionFallbackWarning
from tests.helpers.fake_device import FakeDevice
from tests.helpers.matrices import MATRICES, draw, full_svd, low_rank, orthonormality, relative, with_values


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that chooses by device takes tensors in main memory for tensors of another device."""
    monkeypatch.setattr(backend, "lapack", on_device)
    yield


@pytest.mark.parametrize("name", MATRICES)
def test_the_two_backends_agree(name: str) -> None:
    matrix = MATRICES[name]()
    n = matrix.shape[1]
    if 0 in matrix.shape:
        return
    size = float(matrix.double().abs().max()) or 1.0
    scaled = matrix.double() / size
    gram = on_device.gram(scaled)
    assert relative(gram.triu(), lapack.gram(scaled).triu()) < 1e-14
    left, values, right = on_device.thin_svd(matrix)
    assert relative(left * values @ right.mT, matrix) < 1e-13
    assert relative(values, full_svd(matrix)[1]) < 1e-13
    for count in {1, n // 2, n} - {0}:
        got, expected = on_device.symmetric_eigen(gram, count), lapack.symmetric_eigen(gram, count)
        assert float((got[0] - expected[0]).abs().max()) <= 1e-12 * float(gram.norm())
        assert relative(gram @ got[1], got[1] * got[0]) < 1e-9
        assert orthonormality(got[1]) < 1e-10
        everything, vectors = on_device.symmetric_spectrum(gram, count)
        assert everything.shape == (n,)
        assert vectors.shape == (n, count)
    target = draw(3, 5, n)
    assert relative(on_device.solve_gram(target, gram), lapack.solve_gram(target, gram)) < 1e-5
    for laid_out in (target, target.mT.contiguous().mT):
        assert relative(lapack.times_symmetric(laid_out, lapack.gram(scaled)), target @ gram) < 1e-13
        assert relative(on_device.times_symmetric(laid_out, gram.triu()), target @ gram) < 1e-13


@pytest.mark.parametrize("name", MATRICES)
def test_directions_and_polar_factors_by_torch_are_within_the_limit(name: str, by_torch: None) -> None:
    matrix = MATRICES[name]()
    left, values, right = full_svd(matrix)
    top = values[0] if values.numel() and values[0] > 0 else None
    kept = int((values > svd.RANK_TOLERANCE * top).sum()) if top is not None else 0
    got = svd.top_directions(matrix, min(matrix.shape))
    assert got.count == kept
    whole = left[:, :kept] * values[:kept] @ right[:, :kept].mT
    assert relative(got.low_rank().dense(torch.float64), whole) < 1e-6
    sure = int((values > polar.NULL_TOLERANCE * top).sum()) if top is not None else 0
    factor, _ = polar.polar(matrix)
    assert relative(factor, left[:, :sure] @ right[:, :sure].mT) < 1e-4


def test_thin_factors_by_torch(by_torch: None) -> None:
    delta = low_rank(0, 40, 24, 5)
    dense = delta.dense(torch.float64)
    assert relative(svd.top_directions(delta, 5).low_rank().dense(torch.float64), dense) < 1e-13


@pytest.mark.parametrize("values", [[1.0, 0.5, 1e-3], [1.0, 1e-3, 1e-9], [1.0, 1.0, 0.0]])
def test_least_squares_of_any_condition(values: list[float], by_torch: None) -> None:
    gram = with_values(0, 3, 3, values)
    gram = gram @ gram.mT
    target = draw(1, 6, 3) @ gram
    kept = [value**2 for value in values if value > svd.RANK_TOLERANCE]
    vectors = full_svd(gram)[0][:, : len(kept)]
    expected = target @ vectors / torch.tensor(kept, dtype=torch.float64) @ vectors.mT
    assert relative(solve_gram(target, gram), expected) < 1e-3


def failing(*_: Any, **__: Any) -> Any:
    raise torch.linalg.LinAlgError("did not converge")


def test_a_solver_that_fails_hands_over_to_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = draw(0, 12, 8)
    gram = on_device.gram(matrix)
    expected, spectrum = on_device.thin_svd(matrix)[1], on_device.symmetric_eigen(gram, 4)[0]
    monkeypatch.setattr(torch.linalg, "svd", failing)
    monkeypatch.setattr(torch.linalg, "eigh", failing)
    with FakeDevice() as device, pytest.warns(DecompositionFallbackWarning, match="LAPACK used") as said:
        values = svd.thin_svd(device.put(matrix))[1].cpu()
        eigenvalues = svd.symmetric_eigen(device.put(gram), 4)[0].cpu()
    assert len(said) == 2
    assert relative(values, expected) < 1e-13
    assert relative(eigenvalues, spectrum) < 1e-12


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value: float, by_torch: None) -> None:
    matrix = draw(0, 6, 4)
    matrix[2, 3] = value
    for attempt in (lambda: svd.top_directions(matrix, 2), lambda: svd.thin_svd(matrix)):
        with pytest.raises(NumericalError, match="NaN or Inf"):
            attempt()
    with FakeDevice() as device, pytest.raises(NumericalError, match="NaN or Inf"):
        top_directions_of([device.put(draw(1, 6, 4)), device.put(matrix)], [2, 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_order_statistics_are_exact_on_a_device(dtype: torch.dtype) -> None:
    values = draw(0, 3001).to(dtype)
    values[100:200] = values[0]
    counts = [1, 150, 1500, 3000]
    ordered = values.abs().sort(descending=True).values
    with FakeDevice() as device:
        there = device.put(values)
        search = LargestMagnitudes(counts)
        while search.unfinished:
            for piece in there.split(1000):
                search.add(piece)
            search.end_pass()
        assert search.magnitudes == [float(ordered[count - 1]) for count in counts]
        assert magnitude_threshold(there, 150) == float(ordered[149])
        assert order_statistics(there.double(), (0.25, 0.5)) == order_statistics(values.double(), (0.25, 0.5))
        assert torch.equal(without_tails(there, 0.3, 0.05).cpu(), without_tails(values, 0.3, 0.05))
        assert inner(there, there) == pytest.approx(inner(values, values), rel=1e-14)


def directions_equal(matrices: list[torch.Tensor], counts: list[int], device: FakeDevice) -> int:
    """How often the device was waited for."""
    got = top_directions_of([device.put(matrix) for matrix in matrices], counts)
    waited = device.reads + device.moves["from"]
    for matrix, count, one in zip(matrices, counts, got, strict=True):
        expected = svd.top_directions(matrix, count)
        assert one.count == expected.count
        if one.count:
            assert relative(one.low_rank().dense(torch.float64).cpu(), expected.low_rank().dense(torch.float64)) < 1e-9
            assert relative(one.left.cpu(), expected.left) < 1e-6
    return waited


@pytest.mark.parametrize("shape", [(12, 8), (8, 12), (9, 9)])
def test_matrices_of_one_shape_are_decomposed_together(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = [draw(seed, *shape) for seed in range(3)]
    matrices += [draw(8, shape[0], 2) @ draw(9, 2, shape[1]), torch.zeros(shape).double(), 1e-20 * draw(7, *shape)]
    sizes: list[int] = []
    eigh: Callable[..., Any] = torch.linalg.eigh

    def counted(grams: torch.Tensor, **given: Any) -> Any:
        sizes.append(len(grams))
        return eigh(grams, **given)

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    with FakeDevice() as device:
        assert directions_equal(matrices, [4, 4, 3, 4, 4, 4], device) == 2
    assert sizes[0] == len(matrices)


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = [draw(seed, 12, 8) for seed in range(5)]
    eigh: Callable[..., Any] = torch.linalg.eigh

    def small(grams: torch.Tensor, **given: Any) -> Any:
        if len(grams) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return eigh(grams, **given)

    monkeypatch.setattr(torch.linalg, "eigh", small)
    with FakeDevice() as device, pytest.warns(DeviceMemoryWarning, match="2 matrices at a time"):
        directions_equal(matrices, [4] * 5, device)

    def none(grams: torch.Tensor, **given: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.linalg, "eigh", none)
    with FakeDevice() as device, pytest.raises(torch.OutOfMemoryError):
        directions_equal(matrices, [4] * 5, device)
