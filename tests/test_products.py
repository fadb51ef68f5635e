"""Products by either library are the same to rounding, whatever the operands' layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mergeometry import products
from mergeometry.products import leaves_half_idle, product
from tests.helpers.matrices import draw, relative

LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rows": lambda matrix: matrix,
    "columns": lambda matrix: matrix.mT.contiguous().mT,
    "part of wider rows": lambda matrix: torch.cat([matrix, matrix], dim=1)[:, : matrix.shape[1]],
}


@pytest.mark.parametrize("half_idle", [True, False])
@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_a_product_is_the_sum_of_products(
    dtype: torch.dtype, limit: float, first: str, second: str, half_idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "leaves_half_idle", lambda: half_idle)
    one, other = draw(0, 70, 80).to(dtype), draw(1, 80, 90).to(dtype)
    expected = torch.einsum("ij,jk->ik", one.double(), other.double())
    found = product(LAYOUTS[first](one), LAYOUTS[second](other))
    assert found.dtype == dtype
    assert relative(found, expected) < limit


def test_a_product_that_is_learned_through_has_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "leaves_half_idle", lambda: True)
    one, other = draw(0, 70, 80).requires_grad_(), draw(1, 80, 90)
    product(one, other).sum().backward()
    assert one.grad is not None
    assert relative(one.grad, other.sum(dim=1).expand(70, 80)) < 1e-12


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "fma avx2 avx512f avx512vl", True),
        ("AuthenticAMD", "fma avx2", False),
        ("GenuineIntel", "fma avx2 avx512f avx512vl", False),
    ],
)
def test_what_a_processor_says_of_itself(vendor: str, flags: str, expected: bool, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert leaves_half_idle(file) is expected


def test_a_system_that_says_nothing_of_its_processor(tmp_path: Path) -> None:
    assert not leaves_half_idle(tmp_path / "absent")
