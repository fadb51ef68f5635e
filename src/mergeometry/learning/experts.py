"""The features of each task's inputs under the task's own expert, computed once before learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders.base import Encoder, Inputs
from mergeometry.encoders.batches import Chosen, pack
from mergeometry.encoders.contracting import make_contracting
from mergeometry.encoders.seq2seq import Pair, Seq2SeqEncoder
from mergeometry.learning.processes import Alone, Processes


@dataclass(frozen=True, slots=True, eq=False)
class ExpertFeatures:
    """The expert's features of every input of its task; rows ``first[i]`` to ``first[i + 1]`` belong to input i."""

    rows: Float[Tensor, "all d"]
    first: tuple[int, ...]

    def of(self, item: int) -> Float[Tensor, "rows d"]:
        """The features of one input."""
        return self.rows[self.first[item] : self.first[item + 1]]

    @property
    def energy(self) -> float:
        """Mean squared length of a feature."""
        return float(torch.linalg.vector_norm(self.rows, dim=1).double().square().mean())


def expert_features(
    encoder: Encoder,
    weights: Mapping[str, Tensor],
    inputs: Inputs,
    dtype: torch.dtype,
    progress: Callable[[int], None] | None = None,
    processes: Processes | None = None,
) -> ExpertFeatures:
    """Features of a task's inputs under its expert's weights; ``progress`` is called with the number of inputs done.

    Each of the ``processes`` computes its share and ends with all features.
    """
    first = [0]
    for rows in inputs.rows:
        first.append(first[-1] + rows)
    features = torch.empty(first[-1], encoder.width)
    everything: Sequence[Chosen] = [Chosen(0, row) for row in range(len(inputs))]
    done = 0
    (module,) = encoder.copies(1)
    if encoder.device.type == "cpu":
        make_contracting(module)
    cast_weights = {name: weight.to(dtype) for name, weight in weights.items()}

    def compute(part: Sequence[Chosen]) -> Float[Tensor, "rows d"]:
        batch = encoder.batch([inputs.items[one.row] for one in part])
        with torch.no_grad(), torch.autocast(encoder.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return encoder.features(module, cast_weights, batch).float().cpu()

    processes = processes or Alone()
    packs = pack(everything, [inputs], encoder.budget)
    computed = processes.in_order(len(packs), map(compute, processes.mine(packs)))
    for part, rows in zip(packs, computed, strict=True):
        for one, input_rows in zip(part, rows.split([inputs.rows[one.row] for one in part]), strict=True):
            features[first[one.row] : first[one.row + 1]] = input_rows
        done += len(part)
        if progress:
            progress(done)
    return ExpertFeatures(features, tuple(first))


def with_targets(
    encoder: Seq2SeqEncoder, weights: Mapping[str, Tensor], inputs: Inputs, processes: Processes
) -> Inputs:
    """A task's inputs with the targets that its expert generates; each process generates its share."""
    packs = pack([Chosen(0, row) for row in range(len(inputs))], [inputs], encoder.budget)

    def generate(part: Sequence[Chosen]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        rows = [one.row for one in part]
        share = Inputs([inputs.items[r] for r in rows], tuple(inputs.sizes[r] for r in rows), (0,) * len(rows))
        continued = encoder.continue_with(encoder.module, weights, share)
        return [(pair.source, pair.target) for pair in continued.items]

    items: dict[int, Pair] = {}
    computed = processes.in_order(len(packs), map(generate, processes.mine(packs)))
    for part, pairs in zip(packs, computed, strict=True):
        items.update((one.row, Pair(*both)) for one, both in zip(part, pairs, strict=True))
    ordered = [items[row] for row in range(len(inputs))]
    sizes = tuple(len(pair.source) + len(pair.target) for pair in ordered)
    return Inputs(ordered, sizes, tuple(len(pair.target) for pair in ordered))
