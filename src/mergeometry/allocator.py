"""Memory that a process frees and takes again, kept meanwhile: memory anew costs a page fault for every 4 KB."""

from __future__ import annotations

from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the two limits."""

_LARGEST_KEPT, _KEPT = 32 << 20, 64 << 20
"""Bytes of the largest block that is kept, and of all together: what glibc itself comes to once such a block was freed.

Until then each tensor's buffers go back to the system and come again, or do not, by chance of where they lie.
"""


def keep_freed_memory() -> None:
    """Keep it from now on, where the C library is glibc: for a process that is all ours."""
    import ctypes  # noqa: PLC0415  (help needs none)

    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
