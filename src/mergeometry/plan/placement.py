"""Where each tensor of a plan is merged: on the CPU, or on a GPU if that takes less time or the user asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mergeometry.plan.machine import BUS_BYTES_PER_SECOND, BYTES_PER_SECOND
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask

WAITING_SECONDS = 2e-3
"""What a tensor takes on a GPU however small it is: its operations are started one after another."""

STARTING_SECONDS = 5.0
"""What a GPU must save in all for `auto` to use it: loading its libraries takes as long."""

USABLE = 0.9
"""Share of a GPU's memory that a merge may need."""

_PIECES = ("chunks", "rows", "passes")


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, and the rule that says which tensors are merged on it; the default is the CPU."""

    device: str = "cpu"
    name: str = ""
    """The GPU's name, such as NVIDIA H200."""
    memory: int = 0
    """Its bytes of memory."""
    asked: bool = False
    """Whether the user named the device: then it merges whatever it can."""

    def of(self, task: TensorTask) -> str:
        """The device that merges a task's tensor."""
        possible = self.device != "cpu" and task.route != "copy" and not task.forms_updates
        if not possible or memory_of(task) > USABLE * self.memory:
            return "cpu"
        return self.device if self.asked or saved_seconds(task) > 0 else "cpu"

    def worthwhile(self, plan: Plan) -> bool:
        """Whether the device is to be used at all."""
        return self.asked or sum(max(0.0, saved_seconds(task)) for task in plan.tasks) > STARTING_SECONDS

    @property
    def identity(self) -> str:
        """What a run on this device must not continue: one on another, whose results differ by rounding."""
        return "" if self.device == "cpu" else f"on {self.name}"

    def in_words(self, plan: Plan) -> str:
        """Where how many tensors are merged, and why some stay on the CPU."""
        merged = [task for task in plan.tasks if task.route != "copy"]
        there = [task for task in merged if self.of(task) != "cpu"]
        if self.device == "cpu":
            return "merges on the CPU"
        memory = max(map(memory_of, there), default=0)
        return (
            f"merges {len(there)} of {len(merged)} tensors on {self.device} ({self.name}, {self.memory / 1e9:.0f} GB), "
            f"in at most {memory / 1e9:.1f} GB of its memory" + _reasons(merged, self)
        )

    def to_json(self, tasks: Iterable[TensorTask]) -> dict[str, Any]:
        """The same as plain JSON values."""
        counts = Counter(self.of(task) for task in tasks if task.route != "copy")
        gpu = {} if self.device == "cpu" else {"name": self.name, "memory_bytes": self.memory}
        return {"chosen": self.device, **gpu, "tensors": dict(sorted(counts.items()))}


CPU = Placement()
"""Everything on the CPU."""


def memory_of(task: TensorTask) -> int:
    """Bytes that a task may take of a device: whole task vectors, also where the CPU would merge pieces."""
    if task.route not in _PIECES:
        return task.cost.memory
    wide = 8 if task.base.nbytes > 4 * task.base.elements else 4
    return (2 * len(task.sources) + 6) * wide * task.base.elements


def saved_seconds(task: TensorTask) -> float:
    """Seconds of a CPU core that a GPU saves on a task, less what moving the tensor takes; a rough estimate."""
    moved = task.cost.read + task.cost.written
    reading = moved / BYTES_PER_SECOND
    computing = task.cost.seconds - reading
    if task.route in _PIECES:
        computing -= reading  # read ahead: arithmetic that is faster than the disk takes no time
    return computing - moved / BUS_BYTES_PER_SECOND - WAITING_SECONDS


def _reasons(merged: list[TensorTask], placement: Placement) -> str:
    staying = [task for task in merged if placement.of(task) == "cpu"]
    if not staying:
        return ""
    large = sum(memory_of(task) > USABLE * placement.memory for task in staying)
    formed = sum(task.forms_updates for task in staying)
    reasons = {
        f"{large} larger than its memory": large,
        f"{formed} whose updates are formed from the base": formed,
        "the others because moving them takes longer than it saves": len(staying) > large + formed,
    }
    return "; on the CPU stay " + ", ".join(reason for reason, holds in reasons.items() if holds)
