"""The executor for a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mergeometry.errors import RecipeError
from mergeometry.execution.cluster.connection import connected
from mergeometry.execution.cluster.jobs import rounded, tasks
from mergeometry.execution.cluster.nodes import Expected, checked_software, checked_storage, nodes_of
from mergeometry.execution.executor import Demands, Given, Result, Running
from mergeometry.sink.failures import readable_bytes
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.sources.tensors import FileStamp


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster: `auto` (the one that this machine belongs to), HOST:PORT, ray://HOST:PORT, or a `local` one.

    Every node reads the inputs from shared storage and writes its tensors to the shared output; this process keeps the
    journal and publishes. A connection that the caller has opened by `ray.init` is used, and left open.
    """

    address: str = "auto"
    expected: Expected | None = None
    """What every node was found to have; set once the cluster is checked."""
    remarks: tuple[str, ...] = ()

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Connect, and check that every node runs the same software.

        Raises:
            RecipeError: Ray is not installed, or the address is malformed.
            ExecutionError: there is no cluster there, or a node runs other software.
        """
        if self.expected is not None:
            yield self
            return
        with connected(self.address) as ray:
            if not nodes_of(ray):
                raise RecipeError(
                    "the cluster has no node with a CPU for jobs",
                    hint="start a worker node; a head node started with --num-cpus 0 runs none",
                )
            expected, remarks = checked_software(ray)
            yield replace(self, expected=expected, remarks=remarks)

    def expect(self, workers: int) -> None:
        """The cluster's workers come up by themselves."""
        del workers

    @contextmanager
    def sharing(self, token: Path, files: Mapping[Path, FileStamp]) -> Iterator[Self]:
        """Check by a token that every node reads and writes its folder and finds the files unchanged.

        Raises:
            ExecutionError: a node does not; the error names node and path.
        """
        assert self.expected is not None, "opened() comes first"
        with checked_storage(_ray(), self.expected, token, files) as expected:
            yield replace(self, expected=expected)

    def workers(self, asked: int | None, memory: int) -> int:
        """The number asked for, or one per CPU.

        Raises:
            RecipeError: the cluster has fewer CPUs, or no node has the memory for one job.
        """
        nodes = nodes_of(_ray())
        cpus, largest = sum(node.cpus for node in nodes), max(nodes, key=lambda node: node.memory)
        if asked is not None and asked < 1:
            raise RecipeError(f"workers must be at least 1, got {asked}")
        if asked is not None and asked > cpus:
            raise RecipeError(
                f"the cluster has {counted(cpus, 'CPU')} on {counted(len(nodes), 'node')}, fewer than {asked} workers",
                hint=f"--workers {cpus}, or leave the option out",
            )
        if rounded(memory) > largest.memory:
            raise RecipeError(
                f"one job may take {readable_bytes(memory)} of memory, and the largest node, {largest.name}, offers "
                f"{readable_bytes(largest.memory)}",
                hint="add a node with more memory, or start its Ray with a larger --memory if it has more",
            )
        return asked or cpus

    def gpus(self) -> int:
        """The GPUs of all nodes."""
        return sum(node.gpus for node in nodes_of(_ray()))

    def running(
        self, work: Callable[[Given], Result], workers: int, demands: Demands[Given]
    ) -> AbstractContextManager[Running[Given, Result]]:
        """Run jobs as tasks of the cluster."""
        assert self.expected is not None, "opened() comes first"
        return tasks(_ray(), work, workers, demands, self.expected)

    @property
    def learns(self) -> bool:
        """One of its workers learns."""
        return True

    @property
    def several_machines(self) -> bool:
        """Whether other machines than this one may have written files."""
        return len(nodes_of(_ray())) > 1 or self.address.startswith("ray://")

    def notes(self) -> tuple[str, ...]:
        """What differs between nodes and may change the last bits of a result."""
        return self.remarks


def _ray() -> Any:
    import ray  # noqa: PLC0415  (a second)

    return ray
