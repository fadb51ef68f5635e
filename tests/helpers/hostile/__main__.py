"""Tries every trick of the collection, and prints what became of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.helpers.hostile import TRICKS, tried

if __name__ == "__main__":
    for name, trick in TRICKS.items():
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            result = tried(Path(one), name)
            peak = tried(Path(other), name, measured=True).peak
        ended = "REACHED ITS END" if result.error is None or result.ran or result.published else "refused"
        print(f"{name:40} {ended:8} {1000 * result.seconds:7.1f} ms {peak / 1e6:6.1f} MB  {trick.tries}")
        if result.error is not None:
            print(f"    {str(result.error).splitlines()[0][:140]}")
