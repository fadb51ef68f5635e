"""What runs in worker processes, and in the one that they are forked from (`fork_server` is the caller's side)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, NoReturn

import cloudpickle
import torch

import mergeometry.execution.compute  # noqa: F401  (what every worker needs is loaded before the first is forked)
from mergeometry.errors import ExecutionError, in_one_line
from mergeometry.execution.fork_server import ASKED, ENDED, command_of
from mergeometry.own_process import keep_freed_memory

_ORPHAN_SECONDS = 0.5


def serve(descriptor: int) -> None:
    """Fork a worker for every connection that comes, until the caller closes its end or dies."""
    keep_freed_memory()
    torch.set_num_threads(1)
    with socket.socket(fileno=descriptor) as asked:
        for connection in _connections(asked):
            if not os.fork():
                asked.close()
                work(connection)
        with suppress(ChildProcessError):
            while True:
                os.wait()


def serve_loading(descriptor: int) -> None:
    """Start a worker that loads torch itself for every connection that comes, until the caller is done."""
    with socket.socket(fileno=descriptor) as asked:
        started = [
            subprocess.Popen(command_of("work", connection), pass_fds=[connection], stdin=subprocess.DEVNULL)
            for connection in _connections(asked)
        ]
        for process in started:
            process.wait()


def _connections(asked: socket.socket) -> Iterator[int]:
    """The connections that workers are wanted for. A caller that dies takes this process with it, and all workers."""
    while True:
        said, (*descriptors,), _, _ = socket.recv_fds(asked, len(ASKED), 1)
        if said == ENDED:
            return
        if said != ASKED:
            os._exit(1)
        yield descriptors[0]
        os.close(descriptors[0])


def work(descriptor: int) -> NoReturn:
    """Do one job after another, until the caller closes its end of the connection or dies."""
    torch.set_num_threads(1)
    Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    try:
        connection.send(os.getpid())
        while True:
            function, job = connection.recv()
            connection.send_bytes(_answer(function, job))
    except (EOFError, OSError):
        pass  # the caller needs no more
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the exit handlers are those of the process that this one was forked from


def _answer(function: Callable[[Any], Any], job: Any) -> bytes:
    """A result, or an error and where it happened."""
    try:
        return cloudpickle.dumps((function(job), None, ""))
    except BaseException as error:
        where = traceback.format_exc()
        try:
            answer = cloudpickle.dumps((None, error, where))
            cloudpickle.loads(answer)  # some errors cannot be made again from their arguments
        except Exception:
            answer = cloudpickle.dumps((None, ExecutionError(f"{type(error).__name__}: {in_one_line(error)}"), where))
        return answer


def _leave_with(parent: int) -> None:
    """End this worker soon after the process that started it, in the middle of a job too."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_SECONDS)
    os._exit(1)
