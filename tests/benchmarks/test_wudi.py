"""The benchmark of WUDI's solvers measures what it says, on a small run."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.speed import wudi
from mergeometry.methods.wudi import WUDI


def test_a_small_run(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        wudi.main(["--quick"])
    finally:
        torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert found["threads"] == 1 and len(found["cases"]) == 2
    for case in found["cases"]:
        assert case["exact"]["objective"] < case["adam_closed_gradient"]["objective"] < case["start"]
        assert case["times_faster"] > 0 and case["adam_published"]["steps_timed"] >= 3


def test_the_published_loop_is_ours() -> None:
    """Automatic differentiation in float32 and the gradient in closed form take the same steps."""
    deltas = wudi.dense(24, 16)
    stepped, seconds = wudi.published(deltas, 20, 60.0)
    ours = WUDI(solver="adam", steps=20, learning_rate=wudi.RATE)(deltas)
    assert isinstance(ours, torch.Tensor) and len(seconds) == 20
    moved = float((stepped - torch.stack(deltas).sum(dim=0)).norm())
    assert float((stepped - ours).norm()) <= 1e-2 * moved
