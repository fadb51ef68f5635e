"""A task's linear head, read from any safetensors file that holds one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.dtypes import MERGEABLE
from mergeometry.errors import DataError
from mergeometry.recipe.inputs import HeadSource
from mergeometry.sources import Adapter, TensorInfo, TensorReader, open_model
from mergeometry.words import nearest

_SHOWN = 12
_HEADS = (["classifier", "weight"], ["score", "weight"])
"""How transformers names the linear head of a classifier; `classifier.out_proj` follows another layer."""


@dataclass(frozen=True)
class Head:
    """A frozen linear classifier on an encoder's features."""

    weight: Float[Tensor, "classes d"]
    bias: Float[Tensor, " classes"]

    def logits(self, features: Float[Tensor, "texts d"]) -> Float[Tensor, "texts classes"]:
        """Return one score per text and class."""
        return torch.nn.functional.linear(features, self.weight, self.bias)

    def predict(self, features: Float[Tensor, "texts d"]) -> Int[Tensor, " texts"]:
        """Return the class of the highest score; the first one where scores tie."""
        return self.logits(features).argmax(1)


def accuracy(head: Head, features: Float[Tensor, "texts d"], labels: Sequence[int]) -> float:
    """Return the share of texts whose class the head predicts."""
    if len(labels) != len(features) or not labels:
        raise DataError(f"accuracy needs one label per text: {len(features)} texts, {len(labels)} labels")
    return float((head.predict(features) == torch.tensor(labels)).float().mean())


def read_head(source: HeadSource, task: str, width: int | None) -> Head:
    """Return the head of a task in float32: its weight (classes, width) and bias (classes).

    ``width`` is the encoder's number of features, or None where that is not known yet. Without names in the source,
    the head is the file's only matrix and its only vector; a file without a vector is a head without a bias. The file
    holds a head alone, or a whole checkpoint for which the source names the head's tensors.

    A bias is found by its weight's name, or by its length.

    A classification adapter, or a whole classifier, gives the head that lies under a name such as `classifier`.

    Raises:
        DataError: several tensors could be the head, a name is missing from the file, the width or the bias does not
            fit, there are fewer than two classes, or a number is not finite.
        SourceError: the file cannot be read or is not a safetensors file.
    """
    stored = find_head(source, task, width)
    try:
        return stored.read()
    except DataError as error:
        error.model, error.file = task, str(stored.weight.file)
        raise


@dataclass(frozen=True)
class StoredHead:
    """Where a head's tensors lie; without a bias it is zero."""

    weight: TensorInfo
    bias: TensorInfo | None

    def read(self) -> Head:
        """The head in float32; DataError if a number is not finite, SourceError if the file cannot be read."""
        with TensorReader() as reader:
            values = _finite(reader, self.weight)
            shift = torch.zeros(self.weight.shape[0]) if self.bias is None else _finite(reader, self.bias)
        return Head(values, shift)


def find_head(source: HeadSource, task: str, width: int | None) -> StoredHead:
    """Find a task's head as `read_head` does, by headers alone.

    Raises:
        DataError: as for `read_head`, but for its numbers.
        SourceError: the file cannot be read or is not a safetensors file.
    """
    model = open_model(source.path, task)
    stored = model.replaced if isinstance(model, Adapter) else model.tensors
    tensors = {name: info for name, info in stored.items() if info.code in MERGEABLE}
    try:
        weight = _weight(tensors, source.weight)
        bias = _bias(tensors, source.bias, weight)
        _check_shapes(weight, bias, width)
    except DataError as error:
        error.model, error.file = task, str(model.path)
        raise
    return StoredHead(weight, bias)


def width_of(config: Mapping[str, Any] | None) -> int | None:
    """The number of an encoder's features, if its configuration has it in the usual place."""
    width = (config or {}).get("hidden_size")
    return width if isinstance(width, int) else None


def _check_shapes(weight: TensorInfo, bias: TensorInfo | None, width: int | None) -> None:
    classes, head_width = weight.shape
    if width is not None and head_width != width:
        raise DataError(
            f"the head takes {head_width:,} features, and the encoder gives {width:,}",
            tensor=weight.name,
            hint="give the head that was trained on this encoder's features",
        )
    if classes < 2:
        raise DataError(f"the head has {classes} class; learning needs at least 2", tensor=weight.name)
    if bias is not None and bias.shape != (classes,):
        raise DataError(
            f"the bias has {bias.elements:,} values, and the weight has {classes:,} classes", tensor=bias.name
        )


def _finite(reader: TensorReader, info: TensorInfo) -> Tensor:
    value = reader.read(info).float()
    if not bool(torch.isfinite(value).all()):
        raise DataError("the head holds a number that is not finite in float32", tensor=info.name)
    return value


def _weight(tensors: Mapping[str, TensorInfo], name: str | None) -> TensorInfo:
    if name is not None:
        return _named(tensors, name, 2, "matrix")
    matrices = [info for info in tensors.values() if len(info.shape) == 2]
    if not matrices:
        raise DataError("the file holds no matrix, so it holds no head")
    named = [info for info in matrices if info.name.split(".")[-2:] in _HEADS]
    if len(matrices) > 1 and len(named) == 1:
        return named[0]
    if len(matrices) > 1:
        raise _several("matrices", matrices, "weight")
    return matrices[0]


def _bias(tensors: Mapping[str, TensorInfo], name: str | None, weight: TensorInfo) -> TensorInfo | None:
    if name is not None:
        return _named(tensors, name, 1, "vector")
    sibling = tensors.get(weight.name.removesuffix("weight") + "bias")
    if sibling is not None and len(sibling.shape) == 1:
        return sibling
    vectors = [info for info in tensors.values() if len(info.shape) == 1]
    fitting = [info for info in vectors if info.shape == weight.shape[:1]]
    if len(fitting) > 1:
        raise _several("vectors of the right length", fitting, "bias")
    if fitting:
        return fitting[0]
    matrices = sum(len(info.shape) == 2 for info in tensors.values())
    if vectors and matrices == 1:
        # In a whole checkpoint other vectors are norms and the like; next to a single matrix, one is meant as its bias.
        lengths = ", ".join(f"{info.name} ({info.elements:,})" for info in vectors[:_SHOWN])
        raise DataError(f"no bias fits the weight's {weight.shape[0]:,} classes: {lengths}", tensor=weight.name)
    return None


def _named(tensors: Mapping[str, TensorInfo], name: str, dimensions: int, kind: str) -> TensorInfo:
    if name not in tensors:
        raise DataError(f"there is no tensor {name!r}{nearest(name, list(tensors))}")
    info = tensors[name]
    if len(info.shape) != dimensions:
        raise DataError(f"expected a {kind}, got shape {list(info.shape)}", tensor=name)
    return info


def _several(what: str, candidates: list[TensorInfo], key: str) -> DataError:
    names = [f"{info.name} {list(info.shape)}" for info in candidates[:_SHOWN]]
    more = ", ..." if len(candidates) > _SHOWN else ""
    return DataError(
        f"the file holds {len(candidates)} {what}: {', '.join(names)}{more}",
        hint=f"name the head's tensors: head: {{path: ..., {key}: {candidates[0].name}}}",
    )
