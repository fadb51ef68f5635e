"""The signals by which schedulers, containers and closed terminals stop a process stop a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

_STOPPING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """One of these signals arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number
        """The exit status by which a shell tells that a command was ended by this signal."""


def stop_on_signals() -> None:
    """Raise ``Terminated`` where a signal arrives that would end this process, unless it was started to ignore it.

    A process of a launcher keeps the system's action: it may wait for the others where Python does not run, and the
    launcher would wait for it.
    """
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        return
    for number in _STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(number)
