"""Processes forked from one that has loaded torch already, so that hundreds may be started and killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
# Importing it merges once: what a merge needs is imported when it is first used, torch above all.
_CONTEXT.set_forkserver_preload(["tests.helpers.loaded_by_merging"])


def started(work: Callable[..., object], *arguments: Any, **options: Any) -> ForkServerProcess:
    """Start ``work`` in a process, and a process group, of its own; it must be importable."""
    process = _CONTEXT.Process(target=_in_own_group, args=(work, arguments, options))
    process.start()
    return process


def finished(work: Callable[..., object], *arguments: Any, **options: Any) -> int:
    """Run ``work`` to its end in a process of its own; return its exit status, below zero if a signal ended it."""
    process = started(work, *arguments, **options)
    return ended(process)


def finished_from_here(work: Callable[..., object], *arguments: Any, **options: Any) -> int:
    """The same in a process forked from this one, with all that it has loaded."""
    process = multiprocessing.get_context("fork").Process(target=_in_own_group, args=(work, arguments, options))
    process.start()
    return ended(process)


def ended(process: BaseProcess, seconds: float = 1800) -> int:
    """Wait for a process; return its exit status."""
    process.join(seconds)
    assert process.exitcode is not None, "the process does not end"
    return process.exitcode


def kill_group(process: ForkServerProcess) -> None:
    """Kill a process and all that it started, as a machine that fails does."""
    assert process.pid is not None
    while True:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            if process.exitcode is None and process.is_alive():
                time.sleep(0.001)  # it has not made its group yet
                continue
        process.join(60)
        return


def commands_of(group: int) -> list[str]:
    """The command lines of the living processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def _in_own_group(work: Callable[..., object], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    # A server that could not load it says nothing, and every process would load it again.
    assert "tests.helpers.loaded_by_merging" in sys.modules
    os.setpgid(0, 0)
    work(*arguments, **options)
