"""The process that workers come from: it loads torch once, and then forks a worker in milliseconds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from mergeometry.errors import ExecutionError
from mergeometry.execution.thread_environment import ENVIRONMENT

ASKED, ENDED = b"w", b"e"
"""What asks the process for a worker, whose end of a connection goes with it; and what lets it wait for the last."""

_SECONDS_TO_END = 10.0

FORKS = sys.platform != "darwin"
"""macOS forbids its own frameworks in a forked process; there each worker loads torch by itself."""

# Ctrl-C, a closed terminal and many schedulers reach the whole group; the caller alone decides what that means.
_PROGRAM = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
import gc, json, sys
gc.disable()  # until torch is there: each search among its objects takes longer, and finds nothing
sys.path[:] = json.loads(sys.argv[2])
from mergeometry.execution import worker_process
gc.freeze()  # a search in a forked worker would copy what it shares with this process
gc.enable()
worker_process.{}(int(sys.argv[1]))
"""


class ForkServer:
    """Starts workers on demand, in this process's group; its own process starts with the first, or with `start`.

    A caller's script is never imported, and so needs no main guard. Workers end with their connections or with this
    process, whichever is first.
    """

    def __init__(self, *, forks: bool = FORKS) -> None:
        self._forks = forks
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: socket.socket | None = None
        self._asked_for = False
        self._lock = Lock()

    def start(self) -> None:
        """Begin to load torch, unless that has begun.

        Raises:
            ExecutionError: the current folder was removed.
        """
        with self._lock:
            if self._asked is None:
                _refuse_removed_folder()
                self._asked, theirs = socket.socketpair()
                with theirs:
                    self._process = subprocess.Popen(
                        command_of("serve" if self._forks else "serve_loading", theirs.fileno()),
                        pass_fds=[theirs.fileno()], env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL,
                    )  # fmt: skip

    def worker(self) -> Connection:
        """The connection to a new worker, which first sends its process id, then one answer for every job.

        Raises:
            ExecutionError: the process that it would come from has died, or the current folder was removed.
        """
        self.start()
        assert self._asked is not None
        self._asked_for = True
        ours, theirs = Pipe()
        with closing(theirs):
            try:
                socket.send_fds(self._asked, [ASKED], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ExecutionError(
                    "workers cannot be started: the process that starts them died",
                    hint="out of memory is the usual cause: use fewer --workers",
                ) from error
        return ours

    def close(self) -> None:
        """End the process once its workers have ended, which they do with their connections."""
        if self._asked is not None and self._asked_for:
            with suppress(OSError):
                self._asked.send(ENDED)
        self._end(_SECONDS_TO_END if self._asked_for else 0.0)

    def kill(self) -> None:
        """End the process now; workers end with it, those in the middle of a job within a second."""
        self._end(0.0)

    def _end(self, seconds: float) -> None:
        if self._asked is not None:
            self._asked.close()
            self._asked = None
        if self._process is not None:
            try:
                # A process that is waited for counts towards what the command took of the processors.
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.kill()


def command_of(function: str, descriptor: int) -> list[str]:
    """The command that runs a function of `worker_process` with a descriptor, and finds modules where this one does."""
    places = json.dumps([str(place) for place in sys.path])
    return [sys.executable, "-P", "-c", _PROGRAM.format(function), str(descriptor), places]


def _refuse_removed_folder() -> None:
    """A process that is started begins in the current folder."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ExecutionError(
            "workers cannot be started: the current folder was removed",
            hint="change into a folder that exists, or use --workers 1",
        ) from error
