"""What each task's own expert makes of the task's inputs: features, computed once before learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.adapt.batches import Chosen, pack
from mergeometry.adapt.encoders.base import Encoder, Inputs


@dataclass(frozen=True, slots=True, eq=False)
class ExpertFeatures:
    """The expert's features of every input of its task; input ``i`` has rows ``first[i]`` to ``first[i + 1]``."""

    rows: Float[Tensor, "all d"]
    first: tuple[int, ...]

    def of(self, item: int) -> Float[Tensor, "rows d"]:
        """Features of one input."""
        return self.rows[self.first[item] : self.first[item + 1]]


def expert_features(
    encoder: Encoder,
    weights: Mapping[str, Tensor],
    inputs: Inputs,
    dtype: torch.dtype,
    progress: Callable[[int], None] | None = None,
) -> ExpertFeatures:
    """Features of a task's inputs under its expert's weights; ``progress`` is told how many inputs are done."""
    first = [0]
    for rows in inputs.rows:
        first.append(first[-1] + rows)
    found = torch.empty(first[-1], encoder.width)
    everything: Sequence[Chosen] = [Chosen(0, row) for row in range(len(inputs))]
    done = 0
    given = {name: weight.to(dtype) for name, weight in weights.items()}
    with torch.no_grad():
        for part in pack(everything, [inputs], encoder.budget):
            batch = encoder.batch([inputs.items[one.row] for one in part])
            with torch.autocast(encoder.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                features = encoder.features(encoder.module, given, batch).float().cpu()
            for one, own in zip(part, features.split(list(batch.rows)), strict=True):
                found[first[one.row] : first[one.row + 1]] = own
            done += len(part)
            if progress:
                progress(done)
    return ExpertFeatures(found, tuple(first))
