"""Work on one tensor, on the device that it was placed on or, where that has too little memory, on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from mergeometry.deferred import torch
from mergeometry.execution.device_reader import DeviceReader
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.linalg.batches import DeviceMemoryWarning, is_out_of_memory

Result = TypeVar("Result")


def on_device(device: str, reader: Reads, given: tuple[Any, ...], work: Callable[[TaskReader], Result]) -> Result:
    """What ``work`` makes of a `TaskReader` of ``reader`` and what else is ``given`` to it.

    Raises:
        MergeometryError: what reading and the work raise.
    """
    if device != "cpu":
        try:
            with closing(DeviceReader(reader, *given, device=torch.device(device))) as inputs:
                return work(inputs)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            warnings.warn(f"merged on the CPU, since {device} has too little memory", DeviceMemoryWarning, stacklevel=2)
        torch.cuda.empty_cache()  # outside: the error holds what was computed
    return work(TaskReader(reader, *given))
