"""Hashes parts of files again, by the algorithm that a run record's digests name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mergeometry.digests import ALGORITHMS, Hash, algorithm_of
from mergeometry.errors import SourceError
from mergeometry.sources.files import open_regular

_PIECE = 1 << 22


class Hasher:
    """Hashes ranges of files, counts their bytes, and tells how many are done."""

    def __init__(self, total: int, progress: Callable[[str, int, int], None] | None = None) -> None:
        self.total = total
        self.done = 0
        self._progress = progress

    def matches(self, path: Path, start: int, count: int, digest: str, name: str) -> bool:
        """Whether a range of a file has a digest; ``name`` is what progress calls it.

        Raises:
            SourceError: the file cannot be read, or ends early, or the digest is by an algorithm that is not known.
        """
        algorithm = algorithm_of(digest)
        if algorithm is None:
            raise SourceError(f"its digest in the run record is by none of {', '.join(ALGORITHMS)}", file=path)
        hashed = Hash(algorithm)
        descriptor = open_regular(path, follow=False)
        try:
            while count:
                piece = os.pread(descriptor, min(count, _PIECE), start)
                if not piece:
                    raise SourceError("the file ends early", file=path)
                hashed.update(piece)
                start, count = start + len(piece), count - len(piece)
                self.count(name, len(piece))
        except OSError as error:
            raise SourceError(f"the file cannot be read: {error.strerror}", file=path) from error
        finally:
            os.close(descriptor)
        return hashed.digest == digest

    def count(self, name: str, nbytes: int) -> None:
        """Count what is hashed."""
        self.done += nbytes
        if self._progress is not None:
            self._progress(name, self.done, self.total)
