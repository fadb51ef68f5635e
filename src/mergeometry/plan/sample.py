"""A small sample of the weights: the same entries of every model, in bounded time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mergeometry.conventions.kinds import is_matrix
from mergeometry.deferred import Float, Tensor
from mergeometry.dtypes import MERGEABLE
from mergeometry.plan.compare import names_of, source_of
from mergeometry.plan.matching import match_names
from mergeometry.plan.tasks import Source
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, TensorInfo, read_factors

if TYPE_CHECKING:
    from mergeometry.sources.formed import Reads

_MATRICES, _SIDE = 12, 512
"""Matrices that are read, spread over the model, and the first rows and columns of each."""


def sampled(base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> list[tuple[str, list[Source]]]:
    """Matrices of the base that all models change, or as many as can be, with where each model stores its own."""
    pairs: list[Mapping[str, str]] = [match_names(base.tensors, names_of(model), ()).pairs for model in models]
    found = []
    for name, info in base.tensors.items():
        if not is_matrix(name, info.shape) or info.code not in MERGEABLE:
            continue
        sources = [source_of(model, own.get(name)) for model, own in zip(models, pairs, strict=True)]
        held = sum(fits(source, info) for source in sources)
        if held:
            found.append((held, name, sources))
    most = max((held for held, _, _ in found), default=0)
    usable = [(name, sources) for held, name, sources in found if held == most]
    # Not every so-manieth: layers repeat, and only one module of each might be met.
    last = min(_MATRICES, len(usable)) - 1
    return [usable[round(place * (len(usable) - 1) / max(1, last))] for place in range(last + 1)]


def fits(source: Source, info: TensorInfo) -> bool:
    """Whether a model holds a tensor of the base's shape, or an update of it, that can be read."""
    if isinstance(source, AdapterDelta):
        return source.fits(info.shape)
    return isinstance(source, TensorInfo) and source.shape == info.shape and source.code in MERGEABLE


def block_of(reader: Reads, info: TensorInfo) -> Float[Tensor, "m n"]:
    """The first rows and columns of a matrix.

    Raises:
        SourceError: the file is no longer what its header said.
    """
    rows, width = min(info.shape[0], _SIDE), info.shape[1]
    return reader.read_range(info, 0, rows * width).view(rows, width)[:, :_SIDE].float()


def block_of_update(reader: Reads, delta: AdapterDelta) -> Float[Tensor, "m n"]:
    """The same of the update that an adapter makes.

    Raises:
        SourceError: the file is no longer what its header said.
    """
    left, right = read_factors(reader.read, delta)
    return (delta.scaling * (left[:_SIDE] @ right[:, :_SIDE])).float()
