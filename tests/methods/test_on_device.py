"""Every method on another device: nothing moves unless it is told to, few numbers are read, the merge is the CPU's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mergeometry.conformance.examples import drawn, fisher, low_rank, matrix, moment
from mergeometry.methods import registry
from mergeometry.methods.base import Activational, Drawing, Informed, Method
from mergeometry.refinements import registry as refinements
from mergeometry.values import Delta, LowRank
from tests.helpers.fake_device import FakeDevice

CHOICES: dict[str, list[dict[str, Any]]] = {
    "average": [{}, {"normalize": False}],
    "breadcrumbs": [{}, {"rescale": True}],
    "dare": [{}, {"rescale": "l1"}],
    "dare_ties": [{}, {"normalize": False}],
    "dc_merge": [{"smoothing": "linear"}, {"combine": "mean", "block_mask": False}],
    "mda": [{"simplex": simplex} for simplex in ("directions", "tasks", "neurons", "random", "none")],
    "model_stock": [{}, {"filter_wise": True}],
    "multislerp": [{}, {"origin": "zero"}],
    "nuslerp": [{}, {"origin": "zero"}, {"flatten": False}],
    "passthrough": [{}, {"scale": 0.5}],
    "sce": [{"select_topk": 0.5}, {}],
    "swudi": [{}, {"keep": "auto", "filter": "none"}],
    "ace": [{}, {"threshold": 1e-6}],
    "reforge": [{}, {"anchor": "iso_c"}],
    "ties": [{}, {"normalize": False, "rescale": True}],
    "wudi": [{}, {"solver": "adam", "steps": 3}],
}
ORDERS = 4 * (1 << 16) * 2
"""Counts of magnitudes that the search for one task vector's thresholds reads."""

EACH_FAMILY = (
    "average",
    "della",
    "dare",
    "knots",
    "model_stock",
    "nuslerp",
    "pcb",
    "regmean",
    "rows",
    "slerp",
    "ties",
    "tsv_m",
)
"""Methods that the default run takes: one or more of every family."""

METHODS = [
    pytest.param(
        name, choice, id=f"{name}-{number}", marks=[] if name in EACH_FAMILY and not number else [pytest.mark.suite]
    )
    for name in registry.names()
    if not registry.find(name).needs_learning
    for number, choice in enumerate(CHOICES.get(name, [{}]))
]


def dense(size: int = 1) -> list[Delta]:
    return [matrix(seed, 12 * size, 8 * size).float() for seed in range(3)]


def thin(size: int = 1) -> list[Delta]:
    return [low_rank(seed, 12 * size, 8 * size) for seed in range(3)]


def put(device: FakeDevice, delta: Delta) -> Delta:
    if isinstance(delta, LowRank):
        return LowRank(*(device.put(part) for part in (delta.left, delta.core, delta.right)))
    return device.put(delta)


def merged(method: Method, deltas: Sequence[Delta], device: FakeDevice | None = None) -> Tensor:
    """The merge of as many of the task vectors as the method takes, in main memory."""
    shape = tuple(deltas[0].shape)
    for count in (3, 2, 1):
        try:
            method.check(count, shape, [1.0] * count)
        except ValueError:
            continue
        break
    given, base = list(deltas[:count]), drawn(200, shape).float()
    if isinstance(method, Activational):
        # Moments come from files, so they are in main memory.
        method = method.with_moments([moment(number, shape[1]) for number in range(count)])
    if isinstance(method, Informed):
        method = method.with_fishers([fisher(number, shape) for number in range(count)])
    if device is None:
        result = method(given, base=base if method.needs_base else None)
    else:
        given, base = [put(device, delta) for delta in given], device.put(base)
        result = method(given, base=base if method.needs_base else None)
        allowed = 2 * sum(shape)
        if isinstance(method, Activational):
            allowed += count * shape[1] ** 2
        if isinstance(method, Informed):
            allowed += count * shape[0] * shape[1]
        if isinstance(method, Drawing):
            allowed += 2 * count * shape[0] * shape[1]  # what is drawn on the CPU, and the ranks' probabilities
        assert device.entries["to"] <= allowed
        assert device.entries["from"] <= count * ORDERS, "counts of magnitudes alone, or numbers"
    if isinstance(result, LowRank):
        result = result.dense(torch.float64)
    return result.cpu()


@pytest.mark.parametrize("kind", [dense, pytest.param(thin, marks=pytest.mark.suite)])
@pytest.mark.parametrize(("name", "choice"), METHODS)
def test_a_method_stays_where_its_task_vectors_are(name: str, choice: dict[str, Any], kind: Any) -> None:
    method = registry.build(name, choice)
    expected = merged(method, kind())
    with FakeDevice() as device:
        got = merged(method, kind(), device)
    assert got.dtype == expected.dtype
    assert float((got - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.mark.suite
@pytest.mark.parametrize(("name", "choice"), METHODS)
def test_how_often_a_device_is_waited_for_does_not_depend_on_the_size(name: str, choice: dict[str, Any]) -> None:
    reads = []
    for size in (1, 24):
        with FakeDevice() as device:
            merged(registry.build(name, choice), dense(size), device)
        reads.append(device.reads + device.moves["from"])
    assert reads[1] <= reads[0] + 4


@pytest.mark.parametrize("kind", [dense, thin])
@pytest.mark.parametrize("name", refinements.names())
def test_a_refinement_stays_where_the_merge_is(name: str, kind: Any) -> None:
    refinement = refinements.build(name, {})
    expected = refinement(kind()[0], kind())
    with FakeDevice() as device:
        given = [put(device, delta) for delta in kind()]
        got = refinement(given[0], given)
        got = (got.dense() if isinstance(got, LowRank) else got).cpu()
        assert device.moves["to"] == 0
    expected = expected.dense() if isinstance(expected, LowRank) else expected
    assert float((got - expected).norm()) <= 1e-5 * float(expected.norm())


def test_what_is_dropped_at_random_is_the_same_on_any_device() -> None:
    for name in ("dare", "della", "della_linear"):
        method = registry.build(name, {}).for_tensor(7, "w", ["a", "b", "c"])
        expected = merged(method, dense(9))
        with FakeDevice() as device:
            got = merged(method, dense(9), device)
        assert torch.equal(got == 0, expected == 0)
        assert 0 < int((expected == 0).sum()) < expected.numel()
