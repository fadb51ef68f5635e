"""What makes a process quick that is all ours, a command's or a worker's, and would surprise in anybody else's."""

from __future__ import annotations

import gc
from contextlib import suppress

from mergeometry.deferred import load
from mergeometry.garbage import uncollected

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the two limits."""

_LARGEST_KEPT, _KEPT = 32 << 20, 64 << 20
"""Bytes of the largest block that is kept, and of all together: what glibc itself comes to once such a block was freed.

Until then each tensor's buffers go back to the system and come again, or do not, by chance of where they lie; memory
that comes again costs a page fault for every 4 KB.
"""


def load_for_good() -> None:
    """Load torch, whose objects are never searched for garbage, and keep freed memory."""
    with uncollected():
        load()
        gc.freeze()
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Keep memory that is freed and may be needed again, where the C library is glibc."""
    import ctypes  # noqa: PLC0415  (a process that merges nothing needs none)

    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
