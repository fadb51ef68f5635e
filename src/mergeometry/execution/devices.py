"""The device to compute on, the CPU or a GPU, by the name that the command line takes."""

from __future__ import annotations

import sys
from pathlib import Path

from mergeometry.deferred import torch
from mergeometry.errors import RecipeError
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.workers import MemoryLimit, workers_for
from mergeometry.plan.placement import CPU, Placement
from mergeometry.plan.plan import Plan

_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""What Linux shows of a GPU's driver; looking there is quicker than asking PyTorch."""


def chosen_device(name: str) -> torch.device:
    """The device of ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:i``.

    Raises:
        RecipeError: the name is unknown, or there is no such GPU.
    """
    if _is_cpu(name):
        return torch.device("cpu")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if gpus else "cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not (number.isascii() and number.isdigit())):
        raise RecipeError(f"there is no device {name!r}", hint="use auto, cpu, cuda, or cuda:1 for the second GPU")
    if not gpus:
        raise RecipeError(
            f"--device {name}: PyTorch finds no GPU here",
            hint="--device cpu computes without one; "
            "python -m torch.utils.collect_env shows what PyTorch was built for",
        )
    index = int(number or 0)
    if index >= gpus:
        raise RecipeError(f"--device {name}: there are {gpus} GPUs, the last is cuda:{gpus - 1}")
    return torch.device("cuda", index)


def placement_of(plan: Plan, name: str) -> Placement:
    """Where each tensor of a plan is merged, for the device that the command line names.

    Raises:
        RecipeError: the name is unknown, or there is no such GPU.
    """
    # Asked first, so that a plan on the CPU does not load PyTorch.
    if _is_cpu(name) or (device := chosen_device(name)).type == "cpu":
        return CPU
    properties = torch.cuda.get_device_properties(device)
    placement = Placement(str(device), properties.name, properties.total_memory, asked=name != "auto")
    return placement if placement.worthwhile(plan) else CPU


def workers_on(
    placement: Placement, plan: Plan, asked: int | None, memory_limit: MemoryLimit = None, executor: Executor = LOCAL
) -> int:
    """The workers of `workers_for`; where GPUs are used, one for each unless more are asked for.

    Raises:
        RecipeError: fewer than one is asked for, the merge needs more memory than there is, or a cluster has no GPU.
    """
    by_default = None if placement.device == "cpu" else gpus_of(executor)
    return workers_for(plan, by_default if asked is None else asked, memory_limit, executor)


def workers_at_start(name: str, asked: int | None, on_cpu: int) -> int:
    """Workers to load torch for before it is known whether a GPU is used: none, unless so many are asked for."""
    return on_cpu if asked is not None or _is_cpu(name) else 1


def gpus_of(executor: Executor) -> int:
    """How many jobs at a time have a GPU of their own; RecipeError if none has."""
    if (count := executor.gpus()) == 0:
        raise RecipeError(
            "no node of the cluster offers a GPU", hint="--device cpu, or start Ray there with --num-gpus"
        )
    return count


def _is_cpu(name: str) -> bool:
    return name == "cpu" or (name == "auto" and not _may_have_gpu())


def _may_have_gpu() -> bool:
    return sys.platform != "linux" or any(Path(driver).exists() for driver in _DRIVERS)
