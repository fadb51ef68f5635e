"""What a process has taken so far."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def process_usage() -> tuple[int, int]:
    """Peak resident bytes of this process so far, and its process id."""
    try:
        # On Linux, ru_maxrss of a worker starts at what its parent held when it started the worker.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), os.getpid()
    except (OSError, StopIteration):
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, os.getpid()
