"""The processes that learn together: which one this is, what it computes, and what they exchange.

Passes are dealt out in turn. Gradients are summed in float64, where sums of a step's float32 numbers hardly ever
round, so that any number of processes learns the same coefficients. Everything else is summed in the order of passes.
"""

from __future__ import annotations

import atexit
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from jaxtyping import Float64
from torch import Tensor

from mergeometry.errors import DataError, ExecutionError, MergeometryError, RecipeError
from mergeometry.execution.devices import chosen_device
from mergeometry.learning.store_exchange import Exchange
from mergeometry.words import install_extra

PATIENCE = timedelta(minutes=30)
"""How long one process waits for another process's pass before it gives up."""

T = TypeVar("T")


class Processes(ABC):
    """The processes of one run of learning; each process enters this context.

    Exchanged values are plain: numbers, texts, None and tensors, and tuples, lists and dictionaries of them.
    """

    rank: int
    count: int
    device: torch.device
    """The device of this process."""

    @property
    def main(self) -> bool:
        """Whether this process writes the output and reports progress."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """The default number of parallel passes in this process: several processes share the cores already."""
        return 2 if self.count == 1 and self.device.type == "cpu" else 1

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """The items that this process computes: every ``count``-th."""
        return items[self.rank :: self.count]

    @abstractmethod
    def in_order(self, total: int, mine: Iterator[T]) -> Iterator[T]:
        """All ``total`` results in order, from each process's results for `mine`; yields them as they arrive.

        Raises:
            ExecutionError: another process fails, ends or does not answer.
        """

    @abstractmethod
    def added(self, tensors: Mapping[str, Float64[Tensor, "..."]]) -> Mapping[str, Float64[Tensor, "..."]]:
        """Sums of equally named tensors over all processes; a process may lack some of them.

        Raises:
            ExecutionError: another process fails, ends or does not answer.
        """

    @abstractmethod
    def from_main(self, work: Callable[[], T]) -> T:
        """The result of the work in the main process, which alone does it.

        Raises:
            ExecutionError: another process fails, ends or does not answer.
        """

    @abstractmethod
    def refuse_unlike(self, digest: str) -> None:
        """Check that all processes learn from the same inputs.

        Raises:
            DataError: another process has a different digest.
        """

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Alone(Processes):
    """One process, which does everything itself."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.rank, self.count, self.device = 0, 1, device or torch.device("cpu")

    def in_order(self, total: int, mine: Iterator[T]) -> Iterator[T]:
        """The results themselves."""
        del total
        return mine

    def added(self, tensors: Mapping[str, Float64[Tensor, "..."]]) -> Mapping[str, Float64[Tensor, "..."]]:
        """The tensors themselves."""
        return tensors

    def from_main(self, work: Callable[[], T]) -> T:
        """The result of the work."""
        return work()

    def refuse_unlike(self, digest: str) -> None:
        """There is nothing to compare with."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Together(Processes):
    """Several processes that exchange results; if one leaves with an error, all of them end."""

    def __init__(self, rank: int, count: int, device: torch.device, exchange: Exchange) -> None:
        self.rank, self.count, self.device, self._exchange = rank, count, device, exchange

    def in_order(self, total: int, mine: Iterator[T]) -> Iterator[T]:
        """Exchange one result per process per round: each has every ``count``-th item, so this is their order."""
        for first in range(0, total, self.count):
            members = min(self.count, total - first)
            own_result: Any = next(mine) if self.rank < members else None
            for rank, result in enumerate(self._exchange.all(own_result)):
                if rank < members:
                    yield result

    def added(self, tensors: Mapping[str, Float64[Tensor, "..."]]) -> Mapping[str, Float64[Tensor, "..."]]:
        """Reduce each tensor once all processes are ready: inside a reduction no process learns of a failure."""
        shapes: dict[str, list[int]] = {}
        for theirs in self._exchange.all({name: list(tensor.shape) for name, tensor in tensors.items()}):
            shapes.update(theirs)
        totals = {}
        for name, shape in sorted(shapes.items()):
            tensor = tensors[name] if name in tensors else torch.zeros(shape, dtype=torch.float64, device=self.device)
            totals[name] = self._exchange.reduce(tensor.contiguous())
        return totals

    def from_main(self, work: Callable[[], T]) -> T:
        """The result of the work in the main process."""
        own_result: Any = work() if self.main else None
        first, *_ = self._exchange.all(own_result)
        return first

    def refuse_unlike(self, digest: str) -> None:
        """Compare the digests of all processes."""
        for rank, other in enumerate(self._exchange.all(digest)):
            if other != digest:
                raise DataError(
                    f"process {rank} learns from other data, heads or models than process {self.rank}",
                    hint="every machine needs the same files under the same paths",
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._exchange.leave()
        elif isinstance(error, (MergeometryError, KeyboardInterrupt)):
            self._exchange.fail(str(error) or "it was interrupted")
        else:
            self._exchange.fail(f"{type(error).__name__}: {error}")


def join(accelerate: bool, device: str) -> Processes:
    """The processes that ``accelerate launch`` or torchrun started, or this process alone.

    ``device`` is auto, cpu, cuda or cuda:i; with several processes, the launcher gives each its own GPU.

    Raises:
        DataError: Accelerate is missing.
        RecipeError: there are several processes and the recipe does not allow them, or the device does not fit them.
        ExecutionError: the other processes cannot be reached.
    """
    count = int(os.environ.get("WORLD_SIZE") or 1)
    if not accelerate:
        refuse_many()
        return Alone(chosen_device(device))
    try:
        from accelerate import PartialState  # noqa: PLC0415  (seconds)
        from accelerate.utils import parse_flag_from_env  # noqa: PLC0415
    except ImportError as error:
        raise DataError(
            "several processes learn together through Accelerate, which is not installed",
            hint=f"leave adapt.accelerate out, or {install_extra('adapt')}",
        ) from error
    if count == 1:
        return Alone(chosen_device(device))
    if ":" in device:
        raise RecipeError(
            f"--device {device} is one device, and {count} processes were started",
            hint="use --device cuda or leave the option out: the launcher gives each process its own GPU",
        )
    if device != "auto":
        chosen_device(device)
    # `accelerate launch --cpu` sets a flag that PartialState does not read by itself.
    cpu_only = device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    try:
        state = PartialState(cpu=cpu_only, timeout=PATIENCE)
        atexit.register(_leave_group)
        own_device = torch.device("cpu") if state.device is None else state.device
        exchange = Exchange.among(state.process_index, state.num_processes, own_device, PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ExecutionError(f"the {count} processes of learning cannot reach each other: {error}") from error
    return Together(state.process_index, state.num_processes, own_device, exchange)


def launched_many() -> bool:
    """Whether a launcher started several processes."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def refuse_many() -> None:
    """Check that this process runs alone: several processes would all do the same work.

    Raises:
        RecipeError: a launcher started more than one process.
    """
    if launched_many():
        raise RecipeError(
            "several processes were started, and the recipe learns in one",
            hint="write adapt: {accelerate: true}, or start mergeometry without a launcher",
        )


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
