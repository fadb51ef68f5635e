"""Where jobs run: an executor is a frozen value that gives the scheduler a way of running them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar

from mergeometry.errors import RecipeError

if TYPE_CHECKING:
    from mergeometry.execution.fork_server import ForkServer
    from mergeometry.sources.tensors import FileStamp

Given = TypeVar("Given")
Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)

NAMES = ("local", "ray")


def _nothing(_: object) -> int:
    return 0


def _no_files(_: object) -> Collection[Path]:
    return ()


def _not_begun(_: object) -> None:
    return None


class Begun(Protocol[Made_co]):
    """A job that is begun."""

    def __call__(self) -> Made_co:
        """Do the rest of it."""
        ...

    def close(self) -> None:
        """Leave it."""
        ...


@dataclass(frozen=True)
class Demands(Generic[Given]):
    """What a job takes, for a scheduler that places it on one of many machines."""

    name: Callable[[Given], str] = str
    """How an error names the job."""
    memory: Callable[[Given], int] = _nothing
    """Bytes that the job's process may take."""
    gpu: Callable[[Given], int] = _nothing
    """The number of GPUs that the job computes on."""
    writes: Callable[[Given], Collection[Path]] = _no_files
    """The shared files that the job writes into."""
    begin: Callable[[Given], Begun[Any] | None] = _not_begun
    """Begins a job while its process does the one before, where that saves time."""


NO_DEMANDS: Demands[Any] = Demands()


class Running(Protocol[Given, Made_co]):
    """Jobs that run: the scheduler submits as many as there is room for, and takes what is finished."""

    @property
    def room(self) -> int:
        """How many more jobs may be submitted now."""
        ...

    def submit(self, job: Given) -> None:
        """Start a job, or queue it."""
        ...

    def finished(self) -> tuple[Given, Made_co] | None:
        """Wait until one of the jobs is finished, and return it with its result; None if none is left.

        Raises:
            ExecutionError: a worker dies.
            MergeometryError: a job fails.
        """
        ...


class Executor(Protocol):
    """Where jobs run."""

    def opened(self) -> AbstractContextManager[Self]:
        """Hold the connection to where jobs run, and check it.

        Raises:
            RecipeError: what it needs is not installed.
            ExecutionError: it cannot be reached, or it does not fit this process.
        """
        ...

    def expect(self, workers: int) -> None:
        """Hear how many workers are likely to be needed soon, so that they are there by then."""
        ...

    def sharing(self, token: Path, files: Mapping[Path, FileStamp]) -> AbstractContextManager[Self]:
        """Check by a ``token`` that every machine reads and writes its folder and finds the ``files`` unchanged.

        Raises:
            ExecutionError: a machine does not; the error names machine and path.
        """
        ...

    def workers(self, asked: int | None, memory: int) -> int | None:
        """How many jobs of this ``memory`` run at a time; None where this machine's cores and memory decide.

        Raises:
            RecipeError: it has too few cores, or too little memory for one job.
        """
        ...

    def gpus(self) -> int:
        """How many jobs at a time have a GPU of their own."""
        ...

    def running(
        self, work: Callable[[Given], Result], workers: int, demands: Demands[Given]
    ) -> AbstractContextManager[Running[Given, Result]]:
        """Run jobs until the block ends; what is left then is stopped."""
        ...

    @property
    def learns(self) -> bool:
        """Whether learning is one of its jobs too, so that this process holds no model."""
        ...

    @property
    def several_machines(self) -> bool:
        """Whether files were written by several machines."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What a run's record should say of where it ran."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """The machine that this process runs on: jobs run in this process, or in worker processes."""

    server: ForkServer | None = None
    """What workers are forked from, as long as this is open."""

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Keep what workers are forked from, once the first is needed."""
        if self.server is not None:
            yield self
            return
        from mergeometry.execution.fork_server import ForkServer  # noqa: PLC0415  (names alone need no processes)

        with ForkServer() as server:
            yield replace(self, server=server)

    def expect(self, workers: int) -> None:
        """Load torch for several workers from now on."""
        if workers > 1 and self.server is not None:
            self.server.start()

    def sharing(self, token: Path, files: Mapping[Path, FileStamp]) -> AbstractContextManager[Self]:
        """One machine sees its own files; every read checks that they are unchanged."""
        del token, files
        return nullcontext(self)

    def workers(self, asked: int | None, memory: int) -> None:
        """Cores and memory of the machine decide."""
        del asked, memory

    def gpus(self) -> int:
        """One: jobs that share it take turns better than they compete."""
        return 1

    @contextmanager
    def running(
        self, work: Callable[[Given], Result], workers: int, demands: Demands[Given]
    ) -> Iterator[Running[Given, Result]]:
        """In this process with one worker, else in worker processes."""
        from mergeometry.execution.local_jobs import in_processes, in_this_process  # noqa: PLC0415  (as above)

        with in_this_process(work, demands.begin) if workers <= 1 else in_processes(work, workers, self.server) as jobs:
            yield jobs

    @property
    def learns(self) -> bool:
        """Learning runs in this process."""
        return False

    @property
    def several_machines(self) -> bool:
        """One machine."""
        return False

    def notes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()


LOCAL = Local()


def chosen_executor(name: Executor | Literal["local", "ray"] | str, address: str | None = None) -> Executor:
    """The executor of a name, at an address; an executor is taken as it is.

    Raises:
        RecipeError: there is no such executor, or it takes no address.
    """
    if not isinstance(name, str):
        if address is not None:
            raise RecipeError("an executor has its address already", hint=f"executor=Ray({address!r})")
        return name
    if name not in NAMES:
        raise RecipeError(f"there is no executor {name!r}", hint=f"the executors are {' and '.join(NAMES)}")
    if name == "local":
        if address is not None:
            raise RecipeError("the local executor has no address", hint=f"--executor ray --address {address}")
        return LOCAL
    from mergeometry.execution.cluster import Ray  # noqa: PLC0415

    return Ray(address or "auto")
