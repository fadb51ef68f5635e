"""A gigabyte written through the page cache and past it: ``python -m benchmarks.speed.past_cache FOLDER``.

Prints the seconds of the writes, of the `fsync` after them, and of the processor. What the cache costs depends on
whether a virtual machine's host has taken the free pages back, so the two take turns, with a pause before each.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.speed.measure import say
from mergeometry.sink.files import FileSystem
from mergeometry.sink.past_cache import PastCache

PIECE, COUNT, START = 2 << 20, 500, 936
PAUSE = 5.0


def measured(path: Path, *, past: bool) -> tuple[float, float, float]:
    """Write the file, and remove it."""
    files, data = FileSystem(), memoryview(os.urandom(PIECE))
    cached = files.open(path, create=True)
    files.allocate(cached, START + PIECE * COUNT)
    direct, past_cache = files.open(path, direct=True), PastCache(files)
    began, worked = time.perf_counter(), time.process_time()
    for place in range(START, START + PIECE * COUNT, PIECE):
        if past:
            past_cache.write(direct, cached, data, place)
        else:
            files.write_at(cached, data, place)
    written = time.perf_counter()
    files.sync_file(path)
    taken = written - began, time.perf_counter() - written, time.process_time() - worked
    past_cache.close()
    for descriptor in (direct, cached):
        files.close(descriptor)
    path.unlink()
    return taken


def main(folder: Path) -> None:
    for _ in range(3):
        for past in (False, True):
            time.sleep(PAUSE)
            write, sync, processor = measured(folder / "past_cache.bin", past=past)
            way = "past the cache" if past else "through the cache"
            say(f"  {way}: write {write:.2f} s, fsync {sync:.2f} s, processor {processor:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
