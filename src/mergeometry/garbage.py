"""Python's search for garbage in cycles, paused where much is made that stays.

The more a process holds, the longer each search takes: importing torch and planning tens of thousands of tensors spend
a tenth to a third of their time in searches that find nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Make objects without searching among them for garbage; also a decorator."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
