"""What chance decides: streams that depend on seed, tensor and task, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.linalg.streams import dropped, stream_key
from mergeometry.methods.dare import Dare
from tests.helpers import models, reference


@pytest.mark.parametrize("density", [1e-6, 0.1, 0.5, 1.0])
def test_a_share_stays_and_keeps_the_sum_in_expectation(density: float) -> None:
    size = 400_000
    kept = dropped(torch.ones(size), stream_key(3, "w", "a"), density)
    share = float((kept != 0).double().mean())
    assert abs(share - density) <= 5 * (density * (1 - density) / size) ** 0.5
    assert torch.allclose(kept[kept != 0], torch.tensor(1 / density))


def test_streams_of_tensors_tasks_and_seeds_are_independent() -> None:
    names = [(0, "w", "a"), (1, "w", "a"), (0, "v", "a"), (0, "w", "b"), (0, "w\0", "a")]
    masks = [dropped(torch.ones(100_000), stream_key(*name), 0.5).bool().double() - 0.5 for name in names]
    found = torch.corrcoef(torch.stack(masks)) - torch.eye(len(names))
    assert float(found.abs().max()) < 0.02


def test_neither_dtype_nor_length_changes_a_draw() -> None:
    key = stream_key(0, "w", "a")
    long = dropped(torch.ones(300_001), key, 0.3).bool()
    for dtype in (torch.float64, torch.float16):
        assert torch.equal(dropped(torch.ones(300_001, dtype=dtype), key, 0.3).bool(), long)
    assert torch.equal(dropped(torch.ones(1001), key, 0.3).bool(), long[:1001])


def test_draws_are_those_of_this_version_for_ever() -> None:
    """A change here changes what every recipe with a drop gives."""
    kept = dropped(torch.ones(32), stream_key(7, "layer.weight", "trec"), 0.5).bool()
    assert "".join(str(int(one)) for one in kept) == "10000011101100000110001111111101"


@pytest.mark.suite
def test_any_number_of_workers_draws_the_same(tmp_path: Path) -> None:
    recipe = {**models.write_family(tmp_path), "method": {"name": "dare", "density": 0.4}, "seed": 5}
    recipe["tensors"] = [{"match": "layer.0.*", "method": {"name": "dare_ties", "density": 0.4}}]
    one, two = (mg.merge(recipe, tmp_path / str(workers), workers=workers) for workers in (1, 2))
    assert {tensor.method for tensor in one.tensors} >= {"dare", "dare_ties"}
    assert one.digest == two.digest


@pytest.mark.parametrize("method", ["dare", "dare_ties"])
def test_a_merge_draws_by_seed_tensor_and_task_for_any_order(tmp_path: Path, method: str) -> None:
    family = models.write_family(tmp_path)
    recipe = {**family, "method": {"name": method, "density": 0.4}, "seed": 5}
    mg.merge(recipe, tmp_path / "one", workers=1)
    mg.merge({**recipe, "seed": 6}, tmp_path / "other", workers=1)
    mg.merge({**recipe, "models": family["models"][::-1]}, tmp_path / "turned", workers=1)
    one, other, turned = (models.loaded(tmp_path / name) for name in ("one", "other", "turned"))
    base, places = models.loaded(Path(family["base"])), [Path(place) for place in family["models"]]
    for name, weight in base.items():
        taus = [(models.loaded(place)[name] - weight).double().numpy() for place in places]
        law = getattr(reference, method)
        expected = law(taus, density=0.4, seed=5, tensor=name, names=[place.name for place in places])
        assert np.allclose(one[name].double().numpy(), weight.double().numpy() + expected, atol=1e-5), name
        assert torch.allclose(one[name], turned[name], atol=1e-6)
        assert weight.numel() < 8 or not torch.equal(one[name], other[name])


def test_a_method_called_alone_names_tasks_by_their_places() -> None:
    deltas = [torch.randn(6, 5, generator=torch.Generator().manual_seed(t)) for t in range(2)]
    method = Dare(density=0.5)
    named = method.for_tensor(0, "", ["0", "1"])
    assert torch.equal(method(deltas), named(deltas))
    assert named == method and named.described() == {"density": 0.5, "rescale": True, "normalize": False}
    assert not torch.equal(method.for_tensor(1, "", ["0", "1"])(deltas), named(deltas))
