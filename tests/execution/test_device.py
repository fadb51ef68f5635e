"""Merges on another device, with one that is made up: the same tensors, digests and notes as on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mergeometry.api import make_plan
from mergeometry.digests import DEFAULT
from mergeometry.errors import NumericalError, RecipeError
from mergeometry.execution import device_reader, fallback, transfer
from mergeometry.execution.compute import Job, Outcome, computed
from mergeometry.execution.devices import chosen_device, placement_of, workers_at_start
from mergeometry.execution.in_memory import MemoryWriter
from mergeometry.execution.run import execute
from mergeometry.linalg import batches
from mergeometry.plan import Plan
from mergeometry.plan.placement import CPU, Placement, saved_seconds
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot
from mergeometry.sources import TensorReader
from tests.helpers import models
from tests.helpers.fake_device import FakeDevice

SHAPES = {"layer.0.dense.weight": (8, 6), "layer.1.dense.weight": (5, 8), "up.bias": (24,), "up.scale": ()}
GPU = Placement("cuda:0", "A GPU", 80_000_000_000, asked=True)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A base, two fine-tunes in bfloat16 and an adapter of rank 2."""
    folder = tmp_path_factory.mktemp("family")
    return models.write_family(folder, count=3, adapters=1, dtype=torch.bfloat16, shapes=SHAPES)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    """The device, also in the thread that reads ahead; with buffers that hold no tensor whole."""
    made = FakeDevice()

    def within(work: Callable[..., Any], *given: Any) -> Any:
        with made:
            return work(*given)

    class Pool(ThreadPoolExecutor):
        def submit(self, work: Callable[..., Any], /, *given: Any, **more: Any) -> Any:
            return super().submit(within, work, *given)

    monkeypatch.setattr(device_reader, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(transfer, "_BUFFER_BYTES", 96)
    monkeypatch.setattr(transfer.Transfer.__init__, "__defaults__", (96,))
    with made:
        yield made


def carried_out(plan: Plan, device: str) -> tuple[dict[str, Tensor], dict[str, Outcome]]:
    writer = MemoryWriter({output.name: output for task in plan.tasks for output in task.outputs})
    labels, outcomes = tuple(model.label for model in plan.models), {}
    for task in plan.tasks:
        slots = tuple(Slot(output.name, 0, output.nbytes, output.code) for output in task.outputs)
        with TensorReader() as reader:
            outcomes[task.name] = computed(Job(task, slots, plan.base.path, labels, DEFAULT, device), reader, writer)
    return writer.tensors, outcomes


def expect_same(plan: Plan) -> dict[str, Outcome]:
    expected, by_cpu = carried_out(plan, "cpu")
    got, there = carried_out(plan, "meta")
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        error = float((got[name].double() - tensor.double()).norm())
        assert error <= 1e-4 * float(tensor.double().norm()), name
    for name, outcome in by_cpu.items():
        assert sorted(there[name].read) == sorted(outcome.read)
        assert there[name].notes == outcome.notes
        assert there[name].scales == pytest.approx(outcome.scales, rel=1e-6)
        assert outcome.device == "cpu"
    return there


@pytest.mark.parametrize(
    "how",
    [
        {"method": "tsv_m", "other": "ties"},
        {"method": {"name": "dare", "density": 0.4}, "scale": {"rule": "projection", "per": "tensor"}},
        pytest.param({"method": "dc_merge", "refine": ["svc"]}, marks=pytest.mark.suite),
        pytest.param({"method": "model_stock"}, marks=pytest.mark.suite),
        pytest.param({"method": "wudi", "output": {"dtype": "float32"}}, marks=pytest.mark.suite),
        pytest.param({"method": "tsv_m", "output": {"adapter": {"rank": 4}}}, marks=pytest.mark.suite),
    ],
)
def test_a_merge_on_a_device_is_that_of_the_cpu(family: dict[str, Any], device: FakeDevice, how: Any) -> None:
    plan = make_plan({**family, **how})
    outcomes = expect_same(plan)
    merged = [task for task in plan.tasks if task.route != "copy"]
    assert all(outcomes[task.name].device == "meta" for task in merged)
    # Every tensor goes there once; what comes back is what is written, and a few numbers.
    read = sum(source.elements for task in merged for source in (task.base, *_dense(task)))
    assert read <= device.entries["to"] <= 3 * read


def _dense(task: TensorTask) -> list[Any]:
    return [source for source in task.sources if hasattr(source, "elements")]


@pytest.mark.suite
def test_stacked_experts_on_a_device(tmp_path: Path, device: FakeDevice) -> None:
    shapes = {"layers.0.experts.gate_up_proj": (3, 8, 6), "layers.0.experts.down_proj": (3, 6, 4)}
    plan = make_plan({**models.write_family(tmp_path, count=2, shapes=shapes), "method": "task_arithmetic"})
    expect_same(plan)


def test_a_device_with_too_little_memory_leaves_the_tensor_to_the_cpu(
    family: dict[str, Any], device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan({**family, "method": "tsv_m"})
    expected, _ = carried_out(plan, "cpu")

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(batches, "symmetric_eigen", full)
    monkeypatch.setattr("mergeometry.linalg.on_device.symmetric_eigen", full)
    got, outcomes = carried_out(plan, "meta")
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    outcome = outcomes["layer.0.dense.weight"]
    assert outcome.device == "cpu"
    assert "merged on the CPU, since meta has too little memory" in outcome.notes


def test_other_errors_are_not_taken_for_too_little_memory(family: dict[str, Any], device: FakeDevice) -> None:
    def work(_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with TensorReader() as reader, pytest.raises(RuntimeError, match="illegal"):
        fallback.on_device("meta", reader, ((),), work)
    assert batches.is_out_of_memory(RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"))


def test_what_is_not_finite_is_refused_on_its_way(tmp_path: Path, device: FakeDevice) -> None:
    family = models.write_family(tmp_path, count=3, shapes={"up.weight": (24, 16)})
    tensors = models.loaded(tmp_path / "task1")
    tensors["up.weight"][23, 15] = float("nan")
    models.write_model(tmp_path / "task1", tensors)
    plan = make_plan({**family, "method": "tsv_m"})
    with pytest.raises(NumericalError, match="1 of 384 values are NaN or infinite") as raised:
        carried_out(plan, "meta")
    assert raised.value.model == plan.models[1].label


def test_tensors_go_where_they_are_merged_soonest(tmp_path: Path) -> None:
    shapes = {"up.weight": (512, 384), "few.weight": (8, 8), "up.bias": (512,)}
    family = models.write_family(tmp_path, count=3, shapes=shapes)
    plan = make_plan({**family, "method": "tsv_m"})
    tasks = {task.name: task for task in plan.tasks}
    assert {GPU.of(task) for task in plan.tasks} == {"cuda:0"}
    auto = Placement("cuda:0", "A GPU", 80_000_000_000)
    assert [auto.of(tasks[name]) for name in shapes] == ["cuda:0", "cpu", "cpu"]
    assert not auto.worthwhile(plan)
    assert saved_seconds(tasks["up.bias"]) < 0 < saved_seconds(tasks["up.weight"])
    small = Placement("cuda:0", "A GPU", 1_000_000, asked=True)
    assert {small.of(task) for task in plan.tasks} == {"cpu"} or small.of(tasks["up.weight"]) == "cpu"
    assert "merges 1 of 3 tensors on cuda:0 (A GPU, 80 GB)" in auto.in_words(plan)
    assert "moving them takes longer than it saves" in auto.in_words(plan)
    assert auto.to_json(plan.tasks)["tensors"] == {"cpu": 2, "cuda:0": 1}
    # An average reads more than it computes.
    assert {auto.of(task) for task in make_plan({**family, "method": "average"}).tasks} == {"cpu"}


def test_without_a_gpu_auto_is_the_cpu_and_the_record_says_so(family: dict[str, Any], tmp_path: Path) -> None:
    plan = make_plan({**family, "method": "tsv_m"})
    if torch.cuda.is_available():
        assert placement_of(plan, "auto") is CPU, "it is too small to gain"
    else:
        assert placement_of(plan, "auto") is placement_of(plan, "cpu") is CPU
        with pytest.raises(RecipeError, match="PyTorch finds no GPU here"):
            execute(plan, tmp_path / "none", device="cuda")
    record = execute(plan, tmp_path / "out", device="auto")
    assert record.decisions["device"] == {"chosen": "cpu", "tensors": {"cpu": 4}}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["tsv_m", "dc_merge", "ties"])
def test_a_gpu_merges_as_the_cpu(tmp_path: Path, method: str) -> None:
    family = models.write_family(tmp_path, count=3, adapters=1, shapes={"up.weight": (300, 200), "up.bias": (300,)})
    plan = make_plan({**family, "method": method})
    for name in ("cpu", "cuda"):
        execute(plan, tmp_path / name, device=name)
    base, by_cpu, by_gpu = (models.loaded(tmp_path / name) for name in ("base", "cpu", "cuda"))
    for name, tensor in by_cpu.items():
        update = (tensor - base[name]).double()
        assert float((by_gpu[name] - base[name] - update).norm()) <= 1e-4 * float(update.norm()), name
    assert str(chosen_device("cuda")) == "cuda:0"


@pytest.mark.parametrize(("device", "asked", "expected"), [("cpu", None, 8), ("cuda", None, 1), ("cuda:1", 8, 8)])
def test_no_workers_load_torch_before_a_gpu_is_chosen(device: str, asked: int | None, expected: int) -> None:
    assert workers_at_start(device, asked, 8) == expected
