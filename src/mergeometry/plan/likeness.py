"""How alike models are, by a small sample of their weights: the same entries for every model, in bounded time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from mergeometry.conventions.kinds import is_matrix
from mergeometry.deferred import Tensor, torch
from mergeometry.dtypes import MERGEABLE
from mergeometry.plan.compare import names_of, source_of
from mergeometry.plan.matching import match_names
from mergeometry.plan.tasks import Source
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, TensorInfo, TensorReader, read_factors

_MATRICES, _ENTRIES = 12, 1 << 18
"""Matrices that are read, spread over the model, and the first entries that are read of each."""


def least_cosine(base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> float | None:
    """The least cosine between two task vectors over the sample; None where it cannot be told.

    Raises:
        SourceError: a file is no longer what its header said.
    """
    count = len(models)
    if count < 2:
        return None
    products = torch.zeros(count, count, dtype=torch.float64)
    with TensorReader() as reader:
        for name, sources in _sampled(base, models):
            start = _entries(reader, base.tensors[name])
            rows = [_update(reader, base.tensors[name], start, source) for source in sources]
            stacked = torch.stack([torch.zeros_like(start) if row is None else row for row in rows]).double()
            products += stacked @ stacked.mT
    norms = products.diagonal().sqrt().tolist()
    if not all(math.isfinite(norm) and norm > 0 for norm in norms):
        return None
    return min(
        products[one, other].item() / (norms[one] * norms[other])
        for one, other in itertools.combinations(range(count), 2)
    )


def base_cosine(base: Checkpoint, model: Checkpoint) -> float | None:
    """The cosine between the weights of a full model and of a base over the sample; None where nothing is shared.

    Raises:
        SourceError: a file is no longer what its header said.
    """
    along = of_base = of_model = 0.0
    with TensorReader() as reader:
        for name, (source,) in _sampled(base, [model]):
            if not isinstance(source, TensorInfo):
                continue
            one, other = (_entries(reader, info).double() for info in (base.tensors[name], source))
            along += float(one @ other)
            of_base, of_model = of_base + float(one @ one), of_model + float(other @ other)
    cosine = along / math.sqrt(of_base * of_model) if of_base > 0 and of_model > 0 else math.nan
    return cosine if math.isfinite(cosine) else None


def _sampled(base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> list[tuple[str, list[Source]]]:
    """Matrices of the base that all models change, or as many as can be, with where each model stores its own."""
    pairs: list[Mapping[str, str]] = [match_names(base.tensors, names_of(model), ()).pairs for model in models]
    found = []
    for name, info in base.tensors.items():
        if not is_matrix(name, info.shape) or info.code not in MERGEABLE:
            continue
        sources = [source_of(model, own.get(name)) for model, own in zip(models, pairs, strict=True)]
        held = sum(_is_readable(source, info) for source in sources)
        if held:
            found.append((held, name, sources))
    most = max((held for held, _, _ in found), default=0)
    usable = [(name, sources) for held, name, sources in found if held == most]
    step = max(1, len(usable) // _MATRICES)
    return usable[::step][:_MATRICES]


def _is_readable(source: Source, info: TensorInfo) -> bool:
    if isinstance(source, AdapterDelta):
        return source.fits(info.shape)
    return isinstance(source, TensorInfo) and source.shape == info.shape and source.code in MERGEABLE


def _update(reader: TensorReader, info: TensorInfo, start: Tensor, source: Source) -> Tensor | None:
    """The first entries of a model's task vector; None where it leaves the tensor as it is, or in another form."""
    if not _is_readable(source, info):
        return None
    if isinstance(source, AdapterDelta):
        left, right = read_factors(reader.read, source)
        rows = math.ceil(len(start) / info.shape[1])
        return (source.scaling * (left[:rows] @ right)).flatten()[: len(start)].float()
    return _entries(reader, source) - start if isinstance(source, TensorInfo) else None


def _entries(reader: TensorReader, info: TensorInfo) -> Tensor:
    return reader.read_range(info, 0, min(info.elements, _ENTRIES)).float()
