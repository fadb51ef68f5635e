"""What models do on inputs, as plain values: what `feature_figures` measures, and an inspection holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mergeometry.diagnostics.collapse import Collapse


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the inputs or tokens, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelOnInputs:
    """One model on one task's inputs; each figure is None where it is not defined."""

    agreement: Share | None
    """Share of predictions equal to the expert's; None of the expert itself."""
    entropy: float | None
    """Mean entropy of the predictions, in nats."""
    cka: float | None
    """Linear CKA of the final features with the expert's; None of the expert itself, as all that follows."""
    cka_unbiased: float | None
    layers: tuple[float | None, ...]
    """Unbiased CKA of each layer's features with the expert's; empty where the layers are not known."""
    collapse: Collapse | None
    """None of language models, without a head, and where too few classes have inputs."""
    accuracy: float | None
    """Where the inputs have labels."""


@dataclass(frozen=True, slots=True)
class TaskOnInputs:
    """One task: the base, its expert and, after a merge, the merged model on the same inputs."""

    name: str
    source: str
    """Where the inputs are from, such as `validation`."""
    kind: Literal["classes", "tokens", "features"]
    """What is predicted; `features` where there is no head."""
    inputs: int
    rows: int
    """Predictions: as many as inputs, or the tokens that a language model predicts."""
    compared: int
    """Rows whose features are compared."""
    classes: int | None
    """Classes of the head."""
    grouped_by: Literal["labels", "predictions"] | None
    """What puts inputs into the classes of NC1 to NC4; predictions are each model's own."""
    expert: ModelOnInputs
    base: ModelOnInputs
    merged: ModelOnInputs | None


@dataclass(frozen=True, slots=True)
class OnInputs:
    """All tasks."""

    limit: int
    """Inputs per task at most."""
    tasks: tuple[TaskOnInputs, ...]
    notes: tuple[str, ...]
    seconds: float
