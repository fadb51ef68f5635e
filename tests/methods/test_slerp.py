"""Where slerp has an answer of its own, where it falls back on a line, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError
from tests.helpers import models

HALFWAY = mg.methods.Slerp()


def test_a_quarter_turn_keeps_its_radius() -> None:
    base = torch.tensor([1.0, 1.0])
    one, other = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    for t in (0.0, 0.25, 0.5, 1.0):
        merged = base + mg.methods.Slerp(t=t)([one - base, other - base], base=base)
        expected = torch.tensor([2 * math.cos(t * math.pi / 2), 2 * math.sin(t * math.pi / 2)])
        torch.testing.assert_close(merged, expected)


def test_small_angles_lose_no_digits() -> None:
    # A 3e-4 turn: the arc lies 1e-8 beyond the chord, below one rounding of the weights in float32.
    base = torch.tensor([1000.0, 0.0, 0.0], dtype=torch.float64)
    deltas = [torch.tensor([0.0, side, 0.0], dtype=torch.float64) for side in (0.15, -0.15)]
    wide = HALFWAY(deltas, base=base)
    narrow = HALFWAY([delta.float() for delta in deltas], base=base.float())
    assert isinstance(wide, torch.Tensor) and isinstance(narrow, torch.Tensor)
    radius = math.hypot(1000.0, 0.15)
    assert float(wide[0]) == pytest.approx(radius - 1000.0, rel=1e-6)
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    ("one", "other"),
    [([3.0, 1.0], [6.0, 2.0]), ([3.0, 1.0], [-3.0, -1.0]), ([0.0, 0.0], [2.0, 5.0]), ([0.0, 0.0], [0.0, 0.0])],
    ids=["parallel", "opposite", "one zero", "both zero"],
)
def test_a_line_where_there_is_no_arc(one: list[float], other: list[float]) -> None:
    base = torch.tensor([1.0, -2.0])
    merged = mg.methods.Slerp(t=0.25)([torch.tensor(one) - base, torch.tensor(other) - base], base=base)
    torch.testing.assert_close(base + merged, 0.75 * torch.tensor(one) + 0.25 * torch.tensor(other))


def test_blocks_of_a_tensor_are_one_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    base, *deltas = (torch.randn(40, 7, generator=generator, dtype=torch.float64) for _ in range(3))
    whole = HALFWAY(deltas, base=base)
    monkeypatch.setattr("mergeometry.methods.families.on_sphere._ENTRIES", 20)
    torch.testing.assert_close(HALFWAY(deltas, base=base), whole)
    transposed = HALFWAY([delta.mT for delta in deltas], base=base.mT)
    assert isinstance(transposed, torch.Tensor)
    torch.testing.assert_close(transposed.mT, whole)


def test_what_it_needs_is_said() -> None:
    delta = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"needs the base's weights: call method\(deltas, base=weights\)"):
        HALFWAY([delta, delta])
    with pytest.raises(ValueError, match=r"expected the base's weights in the shape \(3, 2\), got \(2, 3\)"):
        HALFWAY([delta, delta], base=delta.mT)
    with pytest.raises(ValueError, match="between two models, got 3"):
        HALFWAY([delta] * 3, base=delta)


def test_three_models_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=3)
    with pytest.raises(MismatchError, match="the method cannot merge these tensors") as caught:
        mg.make_plan({**family, "method": "slerp"})
    assert "tensor 'embed.weight': slerp interpolates between two models, got 3" in str(caught.value)


def test_a_whole_merge_runs_from_one_model_to_the_other(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    for t, place in ((0.0, family["models"][0]), (1.0, family["models"][1])):
        mg.merge({**family, "method": {"name": "slerp", "t": t}}, tmp_path / f"at-{t}", workers=1)
        for name, tensor in models.loaded(tmp_path / f"at-{t}").items():
            torch.testing.assert_close(tensor, models.loaded(Path(place))[name])
