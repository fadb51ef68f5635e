"""An inspection's result as plain values, and its JSON (docs/reading-the-report.md lists the fields)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Literal

from mergeometry.conventions.model_kinds import ModelKind
from mergeometry.inspection.on_inputs import OnInputs

SCHEMA = 2
"""Version of the JSON: a field that changes its meaning or goes raises it, a new field does not."""

Figures = tuple[float, ...]
"""One number per model, in the recipe's order; or per pair of models, (0, 1), (0, 2), ..., (T-2, T-1)."""


def pairs_of(count: int) -> list[tuple[int, int]]:
    """The pairs of models in the order in which figures name them."""
    return list(combinations(range(count), 2))


@dataclass(frozen=True, slots=True)
class MatrixFigures:
    """What the decompositions of a matrix's task vectors say."""

    rank: tuple[int, ...]
    """Leading directions that are compared, per model."""
    strength: Figures
    """Sum of their singular values."""
    effective_rank: Figures
    stable_rank: Figures
    energy_ranks: tuple[int, ...]
    energy_kept: tuple[Figures, ...]
    """Per model, the share of the squared norm in the leading ``energy_ranks`` directions."""
    overlap_left: Figures
    """Per pair, mean squared cosine of the principal angles of the left (output) directions."""
    overlap_right: Figures
    """The same of the right (input) directions."""
    largest_cosine: Figures
    """Per pair, cosine of the smallest principal angle of the left directions."""
    pair_interference: Figures
    """Per pair, singular task interference of the two alone, over the sum of their strengths."""
    interference: float
    """Singular task interference of all models, over the sum of their strengths."""


@dataclass(frozen=True, slots=True)
class MergedFigures:
    """What became of the task vectors in the merged tensor."""

    norm: float
    share_held: Figures
    """Per model ``<tau, tau_t> / ||tau_t||^2``."""
    alignment: Figures = ()
    """Per model, subspace alignment ratio; empty where the tensor is no matrix, as all that follows."""
    consistency: Figures = ()
    effective_rank: float | None = None
    stable_rank: float | None = None
    energy_kept: Figures = ()
    accumulation: Figures = ()
    """Over-accumulation of the leading directions, strongest first."""
    accumulated: float | None = None
    """The mean of it over all directions, weighted by their energy."""
    deviation: float | None = None
    """``Delta_ETF``; None where it is not defined."""
    residual: float | None = None
    """Share of the squared norm outside the span of the frame of all directions."""


@dataclass(frozen=True, slots=True)
class TensorFigures:
    """One tensor, or one matrix of a stack of experts."""

    name: str
    kind: Literal["matrix", "other"]
    shape: tuple[int, ...]
    tower: str
    """What precedes the numbers of the layers, such as `model.layers`; empty outside the layers."""
    layer: int | None
    module: str
    """The name within the layer, or the whole name, without `.weight`."""
    base_norm: float
    norm: Figures
    along_base: Figures
    """``<tau_t, W_0>``."""
    mass: Figures
    """Sum of the magnitudes of the entries."""
    cosine: Figures
    conflict: Figures
    """Per pair, share of their mass that the other model cancels."""
    outvoted: float
    """Share of the mass of all models whose sign is outvoted."""
    seconds: float
    matrix: MatrixFigures | None = None
    rows_moved_by: tuple[int, ...] = ()
    """Of a table: rows that 0, 1, ..., T models moved."""
    rows_moved_alone: tuple[int, ...] = ()
    """Of a table: rows that each model alone moved."""
    rows_shrunk_by: Figures = ()
    """Of a table: the factor by which each model shrank all other rows, as weight decay does."""
    merged: MergedFigures | None = None

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Problem:
    """A tensor that cannot be measured, and why: a value in it is not finite, or a decomposition failed."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Model:
    """One model that goes in.

    ``digest`` is the content hash of the tensors that were read; empty where stacks of experts were read in parts.
    """

    label: str
    path: str
    kind: Literal["checkpoint", "adapter"]
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ModelTotals:
    """One model; what follows ``effective_rank`` is None before a merge."""

    label: str
    norm: float
    relative_norm: float
    """Over the base's norm."""
    base_alignment: float
    """``cos(W_t, W_0)`` over the matrices, or over all tensors where there is no matrix."""
    effective_rank: float | None
    """Mean over the matrices, weighted by squared norm; None without matrices."""
    share_held: float | None = None
    alignment: float | None = None
    consistency: float | None = None


@dataclass(frozen=True, slots=True)
class PairTotals:
    """Two models; what follows ``conflict`` is None without matrices."""

    one: str
    other: str
    cosine: float
    conflict: float
    overlap_left: float | None
    overlap_right: float | None
    interference: float | None


@dataclass(frozen=True, slots=True)
class LayerTotals:
    """One layer."""

    tower: str
    layer: int
    norm: float
    outvoted: float
    interference: float | None
    """Mean over the pairs, as the overlap."""
    overlap_left: float | None
    pairs: tuple[float | None, ...]
    """Interference of each pair."""


@dataclass(frozen=True, slots=True)
class Totals:
    """All of them, with the share of the squared norm that each kind of module holds."""

    models: tuple[ModelTotals, ...]
    pairs: tuple[PairTotals, ...]
    layers: tuple[LayerTotals, ...]
    modules: tuple[tuple[str, float], ...]
    outvoted: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the verdict; `warning` and `attention` call for a look, `note` informs."""

    level: Literal["warning", "attention", "note"]
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Inspection:
    """How the task vectors of a recipe lie to each other, and after a merge to the merged model."""

    version: str
    recipe: Mapping[str, Any]
    base: Model
    models: tuple[Model, ...]
    totals: Totals
    tensors: tuple[TensorFigures, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """What the plan decided about names, ties, tokenizers and files."""
    seconds: float
    verdict: tuple[Sentence, ...] = ()
    output: Model | None = None
    """The merged model, where there is one already."""
    record: Mapping[str, Any] | None = None
    """Its run record."""
    left_out: int = 0
    """Tensors that were not measured, to save time."""
    curves: tuple[Mapping[str, Any], ...] = ()
    """The steps of learning, where the merge learned."""
    on_inputs: OnInputs | None = None
    """What the models do on inputs, where some were given."""
    comparison: Mapping[str, Any] | None = None
    """The comparison of methods that was given: its comparison.json."""
    evaluation: Mapping[str, Any] | None = None
    """The merged model's scores, where `mergeometry evaluate --save` kept them."""
    model_kind: ModelKind | None = None
    """What the base's configuration describes."""
    folded: int | None = None
    """The highest rank of full models that are all adapters folded into the weights; else None."""
    schema: int = field(default=SCHEMA)

    @property
    def labels(self) -> tuple[str, ...]:
        """The models' names."""
        return tuple(model.label for model in self.models)

    def __repr__(self) -> str:
        return f"Inspection({len(self.models)} models, {len(self.tensors)} tensors, {self.seconds:.1f} s)"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; numbers that are not finite are null."""
        return finite({**asdict(self), "calibrated": True})


def finite(value: Any) -> Any:
    """The value with null for every number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
