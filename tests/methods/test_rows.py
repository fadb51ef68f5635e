"""Rows that some tasks moved, rows that all did, shrunk rows and rows of any size, against the formula row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.linalg.shrinkage import RowMovements
from mergeometry.methods import registry
from mergeometry.methods import rows as module
from tests.helpers import models, reference

ROWS = registry.build("rows", {})


def merge(
    deltas: list[torch.Tensor], weights: list[float] | None = None, base: torch.Tensor | None = None
) -> torch.Tensor:
    merged = ROWS(deltas, weights, base=base)
    assert isinstance(merged, torch.Tensor)
    return merged


def tables(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Three tables of 40 rows: each row is moved by none, one, two or all of the tasks."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(40, 6, generator=generator, dtype=dtype) * (torch.rand(40, 1, generator=generator) < 0.6)
        for _ in range(3)
    ]


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 0.0, 2.0], [0.5, -0.25, 1.0]])
@pytest.mark.parametrize("entries", [6, 100, 1 << 20])
def test_rows_are_merged_one_by_one(weights: list[float], entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_ELEMENTS", entries)
    found = merge(tables(), weights)
    np.testing.assert_allclose(found, reference.rows([t.numpy() for t in tables()], weights), rtol=1e-12, atol=1e-14)


def test_rows_of_one_task_stay_whole_and_rows_of_all_are_averaged() -> None:
    one, two = torch.zeros(3, 4), torch.zeros(3, 4)
    one[0], one[2], two[2] = 1.0, 1.0, 3.0
    found = merge([one, two])
    assert found.tolist() == [[1.0] * 4, [0.0] * 4, [2.0] * 4]


def test_equal_moves_of_a_row_count_once() -> None:
    move, still = torch.ones(1, 4), torch.zeros(1, 4)
    found = merge([move, move, still])
    torch.testing.assert_close(found, move)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_rows_keep_their_factor(size: float) -> None:
    given = tables(torch.float32)
    found, scaled = merge(given), merge([delta * size for delta in given])
    torch.testing.assert_close(scaled / size, found, rtol=1e-5, atol=0)


STEPS, RATE = 60, 3e-3
TASKS, COUNT, WIDTH = 3, 120, 24


def base_table() -> torch.Tensor:
    """Rows of words, the first of zeros as a padding token's may be."""
    table = 0.05 * torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(1))
    table[0] = 0.0
    return table


def trained(decay: float, dtype: torch.dtype = torch.float32) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Tables as AdamW leaves them: each task trains rows of its own, and every third row is trained by all.

    Returned with which rows each has trained.
    """
    generator = torch.Generator().manual_seed(2)
    tables_of, which = [], []
    for _ in range(TASKS):
        weights = base_table().requires_grad_()
        solver = torch.optim.AdamW([weights], lr=RATE, weight_decay=decay)
        rows = torch.rand(COUNT, generator=generator) < 0.3
        rows[::3], rows[1::3] = True, rows[1::3] & (torch.arange(len(rows[1::3])) > 4)
        for _ in range(STEPS):
            weights.grad = torch.randn(COUNT, WIDTH, generator=generator) * rows[:, None]
            solver.step()
        tables_of.append(weights.detach().to(dtype))
        which.append(rows)
    return tables_of, which


def task_vectors(tuned: list[torch.Tensor], base: torch.Tensor) -> list[torch.Tensor]:
    return [table.to(base.dtype) - base for table in tuned]


@pytest.fixture(scope="module")
def decayed() -> Iterator[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    yield trained(0.05)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 0.0, 2.0], [0.5, -0.25, 1.0]])
def test_shrunk_rows_are_merged_one_by_one(
    weights: list[float], decayed: tuple[list[torch.Tensor], list[torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    deltas = task_vectors(decayed[0], base_table())
    expected = reference.rows([t.numpy() for t in deltas], weights, base_table().numpy())
    results = []
    for entries in (WIDTH, 1000, 1 << 20):
        monkeypatch.setattr(module, "PIECE_ELEMENTS", entries)
        results.append(merge(deltas, weights, base=base_table()))
    np.testing.assert_allclose(results[0], expected, rtol=1e-4, atol=1e-7)
    assert all(torch.equal(results[0], other) for other in results[1:])
    assert float((results[0] - merge(deltas, weights)).norm()) > 0.1 * float(results[0].norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("decay", [0.0, 1e-3, 0.05])
def test_the_rows_that_were_trained_are_told_from_those_that_decayed_or_were_rounded(
    decay: float, dtype: torch.dtype
) -> None:
    tuned, which = trained(decay, dtype)
    left = 1 - (1 - RATE * decay) ** STEPS
    for delta, rows in zip(task_vectors(tuned, base_table()), which, strict=True):
        movements = RowMovements(COUNT)
        for first in range(0, COUNT, 50):
            movements.add(base_table()[first : first + 50], delta[first : first + 50])
        fitted = movements.shrinkage()
        assert torch.equal(movements.moved(fitted), rows)
        # Rounding to 16 bits hides what is smaller than its unit.
        assert fitted.factor == pytest.approx(left, rel=1e-2, abs=torch.finfo(dtype).eps / 4)
        assert bool(fitted) == (decay > 0 or dtype is not torch.float32)


def test_models_without_decay_merge_to_the_bytes_they_merge_to_without_the_base() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        base = base_table().to(dtype).float()
        tuned, which = trained(0.0, dtype)
        deltas = [
            torch.where(rows[:, None], model.float() - base, 0.0) for model, rows in zip(tuned, which, strict=True)
        ]
        assert torch.equal(merge(deltas, base=base), merge(deltas))
    for deltas in (tables(torch.float32), [delta + 1 for delta in tables(torch.float32)]):
        base = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
        assert torch.equal(merge(deltas, base=base), merge(deltas))


def test_the_shrinkage_stays_as_its_mean(decayed: tuple[list[torch.Tensor], list[torch.Tensor]]) -> None:
    base, deltas = base_table(), task_vectors(decayed[0], base_table())
    merged = merge(deltas, base=base)
    assert torch.equal(merge(deltas[:1], base=base), deltas[0])
    torch.testing.assert_close(merge([deltas[0]] * 3, base=base), deltas[0], rtol=1e-5, atol=1e-9)
    still = ~torch.stack(decayed[1]).any(dim=0)
    assert int(still.sum()) > 10
    torch.testing.assert_close(merged[still], torch.stack(deltas).mean(dim=0)[still])


def test_a_table_in_files_is_merged_as_in_memory_whatever_its_route(
    decayed: tuple[list[torch.Tensor], list[torch.Tensor]], tmp_path: Path
) -> None:
    base, name = base_table(), "embed.weight"
    models.write_model(tmp_path / "base", {name: base})
    for place, table in enumerate(decayed[0]):
        models.write_model(tmp_path / f"task{place}", {name: table})
    given: dict[str, Any] = {
        "base": str(tmp_path / "base"),
        "models": [str(tmp_path / f"task{place}") for place in range(TASKS)],
        "method": "rows",
    }
    expected = merge(task_vectors(decayed[0], base), base=base)
    (task,) = mg.make_plan(given).tasks
    assert task.route == "passes"
    mg.merge(given, tmp_path / "pieces", workers=1)
    assert torch.equal(models.loaded(tmp_path / "pieces")[name], base + expected)
    scaled = {**given, "scale": {"rule": "norm_mean", "per": "model"}}
    (task,) = mg.make_plan(scaled).tasks
    assert task.route == "whole"
    mg.merge(scaled, tmp_path / "whole", workers=1)
    step = models.loaded(tmp_path / "whole")[name] - base
    scale = float((step * expected).sum() / expected.square().sum())
    assert scale != pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(step, scale * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 3e-4])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 0.0, 2.0], [0.5, 0.25, 1.0]])
def test_parts_sum_to_the_merge(decay: float, weights: list[float]) -> None:
    """With rows that weight decay shrank as without: learning starts from the merge itself."""
    base = torch.randn(40, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    moved = [table - decay * base for table in tables()]
    accumulator = ROWS.begin_parts(weights, base)
    for place, delta in enumerate(moved):
        accumulator.take(place, delta)
    parts = accumulator.result()
    assert len(parts) == 3
    total = torch.stack([part for part in parts if isinstance(part, torch.Tensor)]).sum(dim=0)
    torch.testing.assert_close(total, merge(moved, weights, base), rtol=1e-12, atol=1e-14)
