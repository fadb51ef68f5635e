"""Models so small that what a merge of them takes is its start and its end."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

TENSORS, SIDE = 4, 8
"""Tensors of a model, enough for as many workers, and the rows and columns of each."""


def small_models(work: Path, tasks: int) -> tuple[Path, list[Path]]:
    """A base and fine-tunes of it."""
    places = [work / "small" / name for name in ("base", *(f"task{task}" for task in range(tasks)))]
    for number, place in enumerate(places):
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors").write_bytes(_model(number))
    return places[0], places[1:]


def _model(seed: int) -> bytes:
    """A file of float32 tensors; written by hand, so that what measures stays small."""
    numbers, nbytes = random.Random(seed), 4 * SIDE * SIDE
    header = json.dumps(
        {
            f"layers.{place}.weight": {
                "dtype": "F32",
                "shape": [SIDE, SIDE],
                "data_offsets": [place * nbytes, (place + 1) * nbytes],
            }
            for place in range(TENSORS)
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    values = [numbers.gauss(0, 1) for _ in range(TENSORS * SIDE * SIDE)]
    return struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}f", *values)
