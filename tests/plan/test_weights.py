"""A model's weight means the same for every tensor, whatever method merges it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from tests.helpers import models


def merged(family: dict[str, Any], weights: list[float], out: Path, **keys: Any) -> models.Tensors:
    entries = [{"path": path, "weight": weight} for path, weight in zip(family["models"], weights, strict=True)]
    mg.merge({**family, "models": entries, **keys}, out, workers=1)
    return models.loaded(out)


@pytest.mark.parametrize("other", ["average", "ties(density=1.0)", "rows", "task_arithmetic"])
@pytest.mark.parametrize("weight", [-1.0, 0.0, 0.5, 1.0, 3.0])
def test_one_model_at_a_weight_is_the_base_plus_as_much_of_its_task_vector(
    tmp_path: Path, weight: float, other: str
) -> None:
    family = models.write_family(tmp_path, count=1)
    name, _, density = other.partition("(density=")
    choice = {"name": name, "density": float(density[:-1])} if density else name
    out = merged(family, [weight], tmp_path / "out", method="tsv_m", other=choice)
    base, own = models.loaded(tmp_path / "base"), models.loaded(Path(family["models"][0]))
    for tensor, value in out.items():
        torch.testing.assert_close(value, base[tensor] + weight * (own[tensor] - base[tensor]), atol=1e-5, rtol=0)


def test_a_mean_as_the_method_itself_has_shares(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    half = merged(family, [0.5, 0.5], tmp_path / "half", method="average")
    whole = merged(family, [1.0, 1.0], tmp_path / "whole", method="average")
    for name, tensor in half.items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("adapters", [0, 1])
def test_other_tensors_follow_the_matrices_through_a_rule_too(tmp_path: Path, adapters: int) -> None:
    family = models.write_family(tmp_path, count=2, adapters=adapters)
    rule = [{"match": "*dense*", "method": "average"}]
    ruled = merged(family, [2.0, -0.5], tmp_path / "ruled", method="tsv_m", tensors=rule)
    usual = merged(family, [1.0, 1.0], tmp_path / "usual", method="average")
    base = models.loaded(tmp_path / "base")
    first = merged({**family, "models": family["models"][:1]}, [1.0], tmp_path / "first", method="average")
    for name, tensor in ruled.items():
        one = first[name] - base[name]
        both = usual[name] - base[name]
        two = 2 * both - one
        torch.testing.assert_close(tensor, base[name] + (2.0 * one - 0.5 * two) / 2, atol=1e-5, rtol=0)
