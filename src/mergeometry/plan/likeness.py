"""What a small sample of the weights says: how alike models are, and whether full ones are folded adapters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.plan.low_rank import Ballot, judge
from mergeometry.plan.sample import block_of, block_of_update, fits, sampled
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, TensorInfo, TensorReader


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a sample of the weights says; without one, nothing is known of them."""

    likeness: float | None = None
    """The least cosine between two task vectors; None where it cannot be told."""
    folded: int | None = None
    """The highest rank of full models that are all folded adapters; None where one is not, or there is none."""


def sample(base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> Sampled:
    """Compare the task vectors of some models over a sample of their entries.

    Raises:
        SourceError: a file is no longer what its header said.
    """
    count = len(models)
    if count < 2:
        return Sampled()
    products = torch.zeros(count, count, dtype=torch.float64)
    ballot = Ballot(place for place, model in enumerate(models) if isinstance(model, Checkpoint))
    with TensorReader() as reader:
        for name, sources in sampled(base, models):
            info = base.tensors[name]
            start = block_of(reader, info)
            updates = torch.zeros(count, *start.shape, dtype=torch.float64)
            for place, source in enumerate(sources):
                if not fits(source, info):
                    continue
                if isinstance(source, AdapterDelta):
                    updates[place] = block_of_update(reader, source)
                elif isinstance(source, TensorInfo):
                    block = block_of(reader, source)
                    updates[place] = block - start
                    if ballot.asks(place):
                        ballot.cast(place, judge(start, block))
            flat = updates.flatten(1)
            products += flat @ flat.mT
    return Sampled(_least_cosine(products), ballot.rank)


def base_cosine(base: Checkpoint, model: Checkpoint) -> float | None:
    """The cosine between the weights of a full model and of a base over the sample; None where nothing is shared.

    Raises:
        SourceError: a file is no longer what its header said.
    """
    along = of_base = of_model = 0.0
    with TensorReader() as reader:
        for name, (source,) in sampled(base, [model]):
            if not isinstance(source, TensorInfo):
                continue
            one, other = (block_of(reader, info).flatten().double() for info in (base.tensors[name], source))
            along += float(one @ other)
            of_base, of_model = of_base + float(one @ one), of_model + float(other @ other)
    cosine = along / math.sqrt(of_base * of_model) if of_base > 0 and of_model > 0 else math.nan
    return cosine if math.isfinite(cosine) else None


def _least_cosine(products: Float[Tensor, "T T"]) -> float | None:
    norms = products.diagonal().sqrt().tolist()
    if not all(math.isfinite(norm) and norm > 0 for norm in norms):
        return None
    return min(
        products[one, other].item() / (norms[one] * norms[other])
        for one, other in itertools.combinations(range(len(norms)), 2)
    )
