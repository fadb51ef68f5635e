"""The state of learning survives its file, whole or not at all."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from mergeometry.learning.state import Point, State
from mergeometry.learning.state_file import StateFile
from tests.helpers.learning_runs import drawn


def test_the_state_of_learning_survives_a_file(tmp_path: Path) -> None:
    points = [Point(0, math.nan, {}, 1.5, {"a": {"entropy": 1.0}}), Point(1, 0.25, {"entropy": 1.0})]
    tensors = {"now/0 /\n weight": drawn(1, 3), "adam/step/x/y": torch.tensor(3.0), "best/rotation/é": drawn(2, 2, 2)}
    for best in (0.5, math.inf):
        kept = StateFile(tmp_path, "one")
        kept.write(State(1, best, 0, 1, points=points, tensors=tensors))
        found = kept.read()
        assert found is not None and (found.step, found.best, found.waited) == (1, best, 1)
        assert math.isnan(found.points[0].loss) and found.points[1:] == points[1:]
        assert found.points[0].by_task == points[0].by_task and found.points[0].held_out == 1.5
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
        assert set(found.tensors) == set(tensors)
        assert StateFile(tmp_path, "another").read() is None
    content = kept.path.read_bytes()
    kept.path.write_bytes(content[: len(content) // 2])
    assert kept.read() is None, "half a file"
    kept.path.unlink()
    assert kept.read() is None


def test_a_state_of_which_one_bit_changed_is_none(tmp_path: Path) -> None:
    kept = StateFile(tmp_path, "one")
    tensors = {"now/weight": drawn(1, 3), "adam/step": torch.tensor(3), "none": torch.zeros(0)}
    kept.write(State(1, 0.5, 0, 1, points=[Point(0, 0.75, {"entropy": 1.0}, 1.5)], tensors=tensors))
    content = kept.path.read_bytes()
    for place in [*range(8, len(content), 23), *range(len(content) - 20, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 7
        kept.path.write_bytes(damaged)
        found = kept.read()
        # The order of the header's keys and its spaces mean nothing.
        assert found is None or (found.points[0].loss == 0.75 and torch.equal(found.tensors["now/weight"], drawn(1, 3)))
    kept.path.write_bytes(content)
    assert kept.read() is not None
