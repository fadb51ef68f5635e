"""A mapped table reads as the same table built row by row."""

from __future__ import annotations

import pytest
import torch

from mergeometry.sources import TensorReader, open_model
from mergeometry.sources.formed import FormedTensor
from mergeometry.sources.mapped import Rows, mapped
from tests.helpers.models import write_model

ROWS, WIDTH = 600, 7


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "own": torch.randn(ROWS, WIDTH, generator=generator).bfloat16(),
        "other": torch.randn(ROWS, WIDTH, generator=generator),
        "factor": torch.randn(3, ROWS, generator=generator),
        "bias": torch.randn(1, ROWS, generator=generator),
    }


@pytest.fixture(scope="module")
def table(sources: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> tuple[FormedTensor, dict]:
    """Rows of two tensors out of order, sums of rows, rows of nothing, and padding."""
    infos = open_model(write_model(tmp_path_factory.mktemp("mapped"), sources), "base").tensors
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    summed = torch.tensor([900, 900, 901])
    rows = (
        Rows(infos["own"], torch.arange(0, 500), order[:500]),
        Rows(infos["other"], torch.arange(500, 900), order[100:500]),
        Rows(infos["own"], summed, torch.tensor([3, 4, 5]), torch.tensor([0.25, 0.5, 1.5])),
        Rows(infos["other"], torch.tensor([900]), torch.tensor([9]), torch.tensor([-1.0])),
    )
    return mapped(infos["own"], 910, rows, padding=5), infos


def by_hand(sources: dict[str, torch.Tensor]) -> torch.Tensor:
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1)).tolist()
    own, other = sources["own"], sources["other"]
    rows = [own[order[row]] for row in range(500)] + [other[order[row - 400]].bfloat16() for row in range(500, 900)]
    rows.append((0.25 * own[3].double() + 0.5 * own[4].double() - other[9].double()).bfloat16())
    rows += [(1.5 * own[5].double()).bfloat16(), *[torch.zeros(WIDTH).bfloat16()] * 3]
    mean = torch.stack(rows).double().mean(0).bfloat16()
    return torch.stack([*rows, *[mean] * 5])


@pytest.mark.parametrize("block", [1 << 24, 1024])
def test_it_reads_whole_and_in_ranges_as_one_made_by_hand(
    sources: dict[str, torch.Tensor],
    table: tuple[FormedTensor, dict],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mergeometry.sources.mapped._BLOCK_BYTES", block)
    monkeypatch.setattr("mergeometry.sources.mapped._GAP_BYTES", block // 4)
    expected, (whole, _) = by_hand(sources), table
    with TensorReader() as reader:
        assert torch.equal(reader.read(whole), expected)
        for first, last in ((0, 1), (5, 24), (3400, 3600), (6290, 6365), (0, whole.elements), (70, 70)):
            assert torch.equal(reader.read_range(whole, first, last), expected.reshape(-1)[first:last])


def test_rows_may_lie_along_the_second_dimension(
    sources: dict[str, torch.Tensor], table: tuple[FormedTensor, dict]
) -> None:
    _, infos = table
    targets, order = torch.tensor([0, 2, 5]), torch.tensor([7, 1, 599])
    for name in ("factor", "bias"):
        turned = mapped(infos[name], 6, (Rows(infos[name], targets, order),), axis=1)
        expected = torch.zeros(sources[name].shape[0], 6)
        expected[:, targets] = sources[name][:, order]
        with TensorReader() as reader:
            assert torch.equal(reader.read(turned), expected)
            assert torch.equal(reader.read_range(turned, 2, 5), expected.reshape(-1)[2:5])
