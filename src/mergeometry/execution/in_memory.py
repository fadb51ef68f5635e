"""Reads and writes tensors in memory, in place of the files of an ordinary merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mergeometry.deferred import Tensor, torch
from mergeometry.dtypes import codes, torch_dtype
from mergeometry.errors import SourceError
from mergeometry.execution.compute import Job, computed
from mergeometry.execution.global_scale import measure_jobs, measured, scaled_by
from mergeometry.execution.run import Progress
from mergeometry.execution.threads import one_thread
from mergeometry.plan.plan import Plan
from mergeometry.sink import OutputTensor, Slot
from mergeometry.sources import Checkpoint, TensorInfo
from mergeometry.sources.tensors import FileStamp

_NO_STAMP = FileStamp(0, 0, 0)


class MemoryReader:
    """Reads the tensors of state dicts, each a copy in main memory that belongs to the caller."""

    def __init__(self, states: Mapping[Path, Mapping[str, Tensor]]) -> None:
        self._states = states

    def read(self, info: TensorInfo, /) -> Tensor:
        """A copy of the whole tensor."""
        return self.read_range(info, 0, info.elements).view(info.shape)

    def read_range(self, info: TensorInfo, first_element: int, last_element: int, /) -> Tensor:
        """A copy of elements from the first up to, not including, the last."""
        return self._elements(info, first_element, last_element).cpu().clone()

    def read_into(self, info: TensorInfo, first_element: int, last_element: int, out: Tensor, /) -> None:
        """Copy the same into ``out``."""
        out.copy_(self._elements(info, first_element, last_element))

    def _elements(self, info: TensorInfo, first_element: int, last_element: int) -> Tensor:
        flat = self._states[info.file][info.name].detach().reshape(-1)
        # A slice of a stacked tensor starts after the tensor's first bytes.
        start = info.start // flat.itemsize
        return flat[start + first_element : start + last_element]


class MemoryWriter:
    """Keeps merged tensors, by the name that their slots have for a file."""

    def __init__(self, outputs: Mapping[str, OutputTensor]) -> None:
        self._outputs = outputs
        self.tensors: dict[str, Tensor] = {}

    def write(self, slot: Slot, tensor: Tensor, /) -> str:
        """Keep a whole tensor; nobody asks for the digest of its bytes."""
        self.tensors[slot.file] = tensor.contiguous()
        return ""

    def write_range(self, slot: Slot, first_element: int, tensor: Tensor, /) -> None:
        """Keep a flat part of a tensor."""
        output = self._outputs[slot.file]
        if slot.file not in self.tensors:
            self.tensors[slot.file] = torch.empty(output.shape, dtype=torch_dtype(output.code))
        first = slot.start // tensor.itemsize + first_element
        self.tensors[slot.file].view(-1)[first : first + tensor.numel()] = tensor


def checkpoint_of(label: str, state: Mapping[str, Tensor], config: Mapping[str, object] | None = None) -> Checkpoint:
    """A state dict as a plan takes it.

    Raises:
        SourceError: a tensor has no values in memory, or is of a kind that no file of weights can hold.
    """
    place = Path(f"<{label}>")
    infos = {name: _info(place, label, name, tensor) for name, tensor in sorted(state.items())}
    return Checkpoint(place, label, infos, {}, config, (place,))


def execute_in_memory(
    plan: Plan, states: Sequence[Mapping[str, Tensor]], progress: Progress | None = None
) -> dict[str, Tensor]:
    """Carry out a plan of state dicts, the base's first, and return the merged tensors in main memory.

    Raises:
        NumericalError: an input or a merged tensor is not finite.
        ExecutionError: the method failed.
    """
    models = (plan.base, *plan.models)
    reader = MemoryReader({model.path: state for model, state in zip(models, states, strict=True)})
    labels = tuple(model.label for model in plan.models)
    outputs = {output.name: output for task in plan.tasks for output in task.outputs}
    writer = MemoryWriter(outputs)
    with one_thread():
        if jobs := measure_jobs(plan):
            plan = scaled_by(plan, [(job, measured(job, reader)) for job in jobs])
        for task in plan.ordered():
            slots = tuple(Slot(output.name, 0, output.nbytes, output.code) for output in task.outputs)
            computed(Job(task, slots, plan.base.path, labels), reader, writer)
            if progress is not None:
                progress(task)
    return writer.tensors


def _info(place: Path, label: str, name: str, tensor: object) -> TensorInfo:
    def refused(what: str, hint: str) -> SourceError:
        return SourceError(what, model=label, tensor=name, hint=hint)

    if not isinstance(tensor, Tensor):
        raise refused(f"a {type(tensor).__name__} stands where a tensor should", "give plain state dicts")
    if tensor.is_meta:
        raise refused("the tensor is on the meta device and has no values", "load the weights first")
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.dtype not in codes():
        kind = tensor.dtype if tensor.layout is torch.strided else tensor.layout
        raise refused(f"a tensor of {kind} cannot be merged", "de-quantise it and make it dense first")
    nbytes = tensor.numel() * tensor.element_size()
    return TensorInfo(name, codes()[tensor.dtype], tuple(tensor.shape), place, 0, nbytes, _NO_STAMP)
