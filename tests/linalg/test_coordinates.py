"""Adapters in the coordinates of what they span, against dense float64 decompositions; ill-conditioned ones as well."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from mergeometry.blocks import diagonal_blocks
from mergeometry.errors import NumericalError
from mergeometry.linalg import coordinates, side_by_side
from mergeometry.linalg.coordinates import basis_of, in_coordinates
from mergeometry.linalg.decorrelated_coordinates import in_decorrelated_coordinates
from mergeometry.linalg.subspace import shared_subspace
from mergeometry.linalg.svd import top_directions
from mergeometry.methods import registry
from mergeometry.values import Delta, LowRank
from tests.helpers.matrices import draw, low_rank, orthonormal, orthonormality, relative, with_values


def conditioned(exponent: float) -> Tensor:
    """Columns whose condition is ten to this power, also once each is divided by its size."""
    return with_values(3, 60, 12, [10 ** (-exponent * place / 11) for place in range(12)])


SPANS: dict[str, Callable[[], Tensor]] = {
    "random": lambda: draw(0, 60, 12),
    "of decaying size": lambda: draw(0, 60, 12) * torch.logspace(0, -30, 12).double(),
    "condition 1e5": lambda: conditioned(5),
    "condition 1e9": lambda: conditioned(9),
    "condition 1e14": lambda: conditioned(14),
    "equal": lambda: torch.cat([draw(0, 60, 6)] * 2, dim=1),
    "with zeros": lambda: draw(0, 60, 12) * (torch.arange(12) % 2),
    "all zero": lambda: torch.zeros(60, 12),
    "wider than tall": lambda: draw(0, 8, 12),
    "no columns": lambda: draw(0, 60, 0),
    "huge": lambda: 1e200 * draw(0, 60, 12),
}


@pytest.mark.parametrize("name", SPANS)
def test_a_basis_spans_its_columns(name: str) -> None:
    vectors = SPANS[name]()
    basis = basis_of([vectors])
    columns = basis.expand(torch.eye(len(basis.triangle)).double())
    assert orthonormality(columns) < 1e-8
    for place in range(vectors.shape[1]):
        size = float(vectors[:, place].double().norm()) or 1.0
        error = basis.expand(basis.triangle[:, place : place + 1])[:, 0] / size - vectors[:, place].double() / size
        assert float(error.norm()) < 1e-9


@pytest.mark.parametrize("lies_flat", [False, True])
def test_a_basis_is_found_a_few_rows_at_a_time(lies_flat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = [draw(place, 60, 4).float() for place in range(3)]
    if lies_flat:
        factors = [factor.mT.contiguous().mT for factor in factors]
    whole = basis_of(factors)
    monkeypatch.setattr(side_by_side, "_ENTRIES", 12 * 7)
    monkeypatch.setattr(side_by_side, "_KEPT", 0)
    basis = basis_of(factors)
    assert relative(basis.triangle, whole.triangle) < 1e-14
    columns = basis.expand(basis.triangle)
    assert relative(columns, torch.cat(factors, dim=1)) < 1e-14
    assert columns.mT.is_contiguous() == lies_flat


def test_the_way_to_a_basis_follows_its_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    real = coordinates._cholesky

    def counted(upper: Tensor) -> tuple[Tensor, Tensor, float]:
        passes.append(len(upper))
        return real(upper)

    monkeypatch.setattr(coordinates, "_cholesky", counted)
    found = {}
    for name in ("random", "condition 1e5", "condition 1e14"):
        passes.clear()
        found[name] = (basis_of([SPANS[name]()]).solved is not None, len(passes))
    assert found == {"random": (True, 1), "condition 1e5": (True, 2), "condition 1e14": (False, 1)}


def test_what_is_not_finite_is_refused() -> None:
    vectors = draw(0, 20, 4)
    vectors[3, 2] = float("inf")
    with pytest.raises(NumericalError, match="NaN or Inf"):
        basis_of([vectors])


def test_triplets_in_coordinates_are_those_of_the_matrices() -> None:
    deltas = [low_rank(5 * seed, 40, 30, 3) for seed in range(4)]
    deltas += [deltas[0], LowRank.zero(40, 30), LowRank(draw(0, 40, 2), torch.zeros(2, 2).double(), draw(1, 30, 2))]
    left, right, found = in_coordinates(deltas, [3, 2, 9, 3, 3, 3, 3])
    for delta, count, one in zip(deltas, [3, 2, 9, 3, 3, 3, 3], found, strict=True):
        expected = top_directions(delta, count)
        assert one.count == expected.count
        if one.count:
            got = left.expand(one.left) * one.values @ right.expand(one.right).mT
            assert relative(got, expected.low_rank().dense(torch.float64)) < 1e-11


@pytest.mark.parametrize(
    ("ends", "kind"), product([(1, 3, 4, 9), (9,), tuple(range(1, 10)), (2, 9)], ["full", "upper", "lower"])
)
def test_blocks_are_found(ends: tuple[int, ...], kind: str) -> None:
    sizes = [last - first for first, last in zip((0, *ends[:-1]), ends, strict=True)]
    matrix = torch.block_diag(*(torch.ones(size, size) for size in sizes)).double()
    matrix = {"full": matrix, "upper": matrix.triu(), "lower": matrix.tril()}[kind]
    expected = list(zip((0, *ends[:-1]), ends, strict=True))
    assert [(block.start, block.stop) for block in diagonal_blocks(matrix)] == expected


def test_blocks_of_zeros_and_of_no_square() -> None:
    assert len(diagonal_blocks(torch.zeros(3, 3))) == 3
    assert diagonal_blocks(torch.ones(2, 3)) == [slice(None)]


@pytest.mark.parametrize("core", ["diagonal", "blocks", "whole", "zero"])
def test_a_matrix_between_orthonormal_sides_is_decomposed_by_its_core(core: str) -> None:
    inner = {
        "diagonal": torch.diag(torch.tensor([0.5, -3.0, 0.0, 2.0, 1e-9, 1.0]).double()),
        "blocks": torch.block_diag(draw(0, 2, 2), draw(1, 3, 3), draw(2, 1, 1)),
        "whole": draw(0, 6, 6),
        "zero": torch.zeros(6, 6).double(),
    }[core]
    sides = orthonormal(0, 20, 6), orthonormal(1, 15, 6)
    plain, marked = LowRank(sides[0], inner, sides[1]), LowRank(sides[0], inner, sides[1], orthonormal=True)
    for count in (2, 6):
        got, expected = top_directions(marked, count), top_directions(plain, count)
        assert got.count == expected.count
        assert relative(got.values, expected.values) < 1e-12
        assert orthonormality(got.left) < 1e-12
        assert relative(got.low_rank().dense(torch.float64), expected.low_rank().dense(torch.float64)) < 1e-12
    assert marked.scaled(2.0).transposed().orthonormal
    with pytest.raises(NumericalError, match="NaN or Inf"):
        top_directions(LowRank(sides[0], inner * float("nan"), sides[1], orthonormal=True), 2)


KINDS = ("random", "much in common", "decaying", "of different sizes", "one twice", "one zero")


def dense_of(delta: Delta) -> Tensor:
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta


def adapters(kind: str) -> list[Delta]:
    """Four adapters of rank 4 on a 48 x 36 matrix."""
    made: list[Delta] = []
    for task in range(4):
        left, right = draw(10 * task, 48, 4), draw(10 * task + 1, 36, 4)
        if kind == "much in common":
            left = left * 1e-3 + draw(99, 48, 4)
        elif kind == "nearly equal":
            left, right = 1e-6 * left + draw(98, 48, 4), 1e-6 * right + draw(99, 36, 4)
        elif kind == "decaying":
            left = left * torch.logspace(0, -5, 4).double()
        elif kind == "of different sizes":
            left = left * 10.0 ** (-2 * task)
        elif kind == "one twice" and task == 3:
            left, right = draw(0, 48, 4), draw(1, 36, 4)
        elif kind == "one zero" and task == 2:
            left = torch.zeros_like(left)
        made.append(LowRank(left, 2.0 * torch.eye(4).double(), right))
    return made


@pytest.mark.parametrize("kind", [*KINDS, "nearly equal"])
@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("tsv_m", {}),
        ("own_blocks", {"rank": 3}),
        ("mda", {"sides": "left", "simplex": "none"}),
        ("mda", {"subspace": "svd", "simplex": "none", "rank": 3}),
        ("dc_merge", {"smoothing": "average", "combine": "sum"}),
        ("dc_merge", {"smoothing": "linear", "combine": "mean", "block_mask": False}),
    ],
)
def test_adapters_merge_as_the_dense_matrices_do(kind: str, name: str, choice: dict[str, object]) -> None:
    method = registry.build(name, {"rank": 4, **choice})
    thin = adapters(kind)
    got = method(thin, [1.0, 0.5, -1.0, 2.0])
    assert isinstance(got, LowRank)
    expected = method([dense_of(delta) for delta in thin], [1.0, 0.5, -1.0, 2.0])
    error = relative(dense_of(got), dense_of(expected))
    # Equal but for a millionth, the tasks leave the dense merge with rounding of its own.
    assert error < (1e-4 if kind == "nearly equal" else 1e-6)
    split = top_directions(got, 16)
    assert relative(split.low_rank().dense(torch.float64), got.dense(torch.float64)) < 1e-6


@pytest.mark.parametrize("kind", ["random", "of different sizes", "much in common", "nearly equal", "one twice"])
def test_directions_come_decorrelated_where_the_condition_allows(kind: str) -> None:
    thin = [delta for delta in adapters(kind) if isinstance(delta, LowRank)]
    found = in_decorrelated_coordinates(thin, [3] * 4)
    assert (found is not None) == (kind in ("random", "of different sizes"))
    if found is None:
        return
    left, right, directions = found
    shared = shared_subspace(directions)
    assert torch.equal(shared.left, torch.eye(12).double())
    expected = shared_subspace([top_directions(delta, 3) for delta in thin])
    got = left.expand(shared.left) * shared.values @ right.expand(shared.right).mT
    assert relative(got, expected.left * expected.values @ expected.right.mT) < 1e-11


def test_adapters_of_different_ranks_or_counts_have_no_short_way() -> None:
    thin = [delta for delta in adapters("random") if isinstance(delta, LowRank)]
    assert in_decorrelated_coordinates(thin, [3, 3, 3, 4]) is None
    assert in_decorrelated_coordinates([*thin[:3], low_rank(0, 48, 36, 2)], [2] * 4) is None


@pytest.mark.parametrize("kept", [1 << 17, 0])
def test_few_rows_are_converted_once(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_KEPT", kept)
    monkeypatch.setattr(side_by_side, "_ENTRIES", 12 * 7)
    factors = [draw(place, 60, 4).float() for place in range(3)]
    exact = torch.cat(factors, dim=1).double()
    stack = side_by_side.SideBySide(factors)
    for _ in range(2):
        assert relative(stack.times(torch.eye(12).double()), exact) == 0
        assert relative(stack.gram().triu(), (exact.mT @ exact).triu()) < 1e-14
