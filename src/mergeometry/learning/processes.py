"""The processes that learn together: which one this is, what it computes, and what they tell each other.

Passes are dealt out in turn. Gradients are added up in float64, where sums of a step's float32 numbers hardly ever
round, so that any number of processes learns the same coefficients; everything else is taken in the passes' order.
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
from mergeometry.learning.devices import chosen_device
from mergeometry.learning.store_exchange import Exchange

PATIENCE = timedelta(minutes=30)
"""How long one process waits for another's pass before it gives up."""

T = TypeVar("T")


class Processes(ABC):
    """The processes of one run of learning, entered by each; values that they share are plain: no own classes.

    Plain are numbers, texts, None and tensors, and tuples, lists and dictionaries of them.
    """

    rank: int
    count: int
    device: torch.device
    """Where this process computes."""

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Passes side by side in this process, unless somebody says: several processes share the cores already."""
        return 2 if self.count == 1 and self.device.type == "cpu" else 1

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """What this process computes of them: every ``count``-th."""
        return items[self.rank :: self.count]

    @abstractmethod
    def in_order(self, total: int, mine: Iterator[T]) -> Iterator[T]:
        """All ``total`` results in order, from those of `mine` of each process; as they come, not at the end.

        Raises:
            ExecutionError: another process failed, ended or is silent.
        """

    @abstractmethod
    def added(self, tensors: Mapping[str, Float64[Tensor, "..."]]) -> Mapping[str, Float64[Tensor, "..."]]:
        """Sums over all processes of the tensors of one name; a process need not have every one.

        Raises:
            ExecutionError: another process failed, ended or is silent.
        """

    @abstractmethod
    def from_main(self, work: Callable[[], T]) -> T:
        """What the work gives in the main process, which alone does it.

        Raises:
            ExecutionError: another process failed, ended or is silent.
        """

    @abstractmethod
    def refuse_unlike(self, digest: str) -> None:
        """Make sure that all learn from the same inputs.

        Raises:
            DataError: they do not.
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
        """What the work gives."""
        return work()

    def refuse_unlike(self, digest: str) -> None:
        """Nothing to compare with."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Together(Processes):
    """Several processes that exchange results; leaving with an error ends all of them with it."""

    def __init__(self, rank: int, count: int, device: torch.device, exchange: Exchange) -> None:
        self.rank, self.count, self.device, self._exchange = rank, count, device, exchange

    def in_order(self, total: int, mine: Iterator[T]) -> Iterator[T]:
        """Rounds of one result from each process: with every ``count``-th item its own, that is their order."""
        for first in range(0, total, self.count):
            members = min(self.count, total - first)
            own: Any = next(mine) if self.rank < members else None
            for rank, found in enumerate(self._exchange.all(own)):
                if rank < members:
                    yield found

    def added(self, tensors: Mapping[str, Float64[Tensor, "..."]]) -> Mapping[str, Float64[Tensor, "..."]]:
        """One reduction for each tensor, begun when all are ready: inside one, nobody hears of another's failure."""
        shapes: dict[str, list[int]] = {}
        for theirs in self._exchange.all({name: list(tensor.shape) for name, tensor in tensors.items()}):
            shapes.update(theirs)
        totals = {}
        for name, shape in sorted(shapes.items()):
            own = tensors[name] if name in tensors else torch.zeros(shape, dtype=torch.float64, device=self.device)
            totals[name] = self._exchange.reduce(own.contiguous())
        return totals

    def from_main(self, work: Callable[[], T]) -> T:
        """What the work gives in the main process."""
        own: Any = work() if self.main else None
        first, *_ = self._exchange.all(own)
        return first

    def refuse_unlike(self, digest: str) -> None:
        """Compare the digests of all."""
        for rank, found in enumerate(self._exchange.all(digest)):
            if found != digest:
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
    """The processes that ``accelerate launch`` or torchrun started, or this one alone where they started no others.

    ``device`` is auto, cpu, cuda or cuda:i; among several processes the launcher gives each its own GPU.

    Raises:
        DataError: Accelerate is missing.
        RecipeError: there are several processes and the recipe does not say so, or the device does not go with them.
        ExecutionError: the others cannot be reached.
    """
    several = int(os.environ.get("WORLD_SIZE") or 1)
    if not accelerate:
        refuse_many()
        return Alone(chosen_device(device))
    try:
        from accelerate import PartialState  # noqa: PLC0415  (seconds)
        from accelerate.utils import parse_flag_from_env  # noqa: PLC0415
    except ImportError as error:
        raise DataError(
            "several processes learn together through Accelerate, which is not installed",
            hint="pip install 'mergeometry[adapt]', or leave adapt.accelerate out",
        ) from error
    if several == 1:
        return Alone(chosen_device(device))
    if ":" in device:
        raise RecipeError(
            f"--device {device} is one device, and {several} processes were started",
            hint="write --device cuda or leave it out: the launcher gives each process a GPU of its own",
        )
    if device != "auto":
        chosen_device(device)
    # `accelerate launch --cpu` sets the flag, which the state of Accelerate alone does not read.
    without = device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    try:
        state = PartialState(cpu=without, timeout=PATIENCE)
        atexit.register(_part)
        own = torch.device("cpu") if state.device is None else state.device
        exchange = Exchange.among(state.process_index, state.num_processes, own, PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ExecutionError(f"the {several} processes of learning cannot reach each other: {error}") from error
    return Together(state.process_index, state.num_processes, own, exchange)


def refuse_many() -> None:
    """Refuse several processes where each would do the same.

    Raises:
        RecipeError: a launcher started more than one.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise RecipeError(
            "several processes were started, and the recipe learns in one",
            hint="write adapt: {accelerate: true}, or start mergeometry without a launcher",
        )


def _part() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
