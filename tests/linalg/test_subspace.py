"""The shared subspace of several tasks' directions."""

from __future__ import annotations

import torch

from mergeometry.linalg.subspace import shared_subspace
from mergeometry.linalg.svd import top_directions
from tests.helpers.matrices import draw, relative


def test_shared_subspace_of_equal_tasks_is_a_partial_isometry() -> None:
    task = top_directions(draw(0, 20, 12), 4)
    shared = shared_subspace([task, task, task])
    assert shared.counts == (4, 4, 4)
    assert relative(shared.left, torch.cat([task.left] * 3, dim=1) / 3**0.5) < 1e-10
    assert torch.equal(shared.same_task(), torch.block_diag(*[torch.ones(4, 4)] * 3).bool())
