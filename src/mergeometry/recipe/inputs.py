"""Where a recipe's inputs and heads are, and how inputs become features: parts that several sections share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from mergeometry.recipe.strict import StrictModel

SYNTHETIC = "synthetic"
SYNTHETIC_INPUTS = 512
"""How many inputs are made for each task, where a recipe does not say."""


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not a boolean")
    return value


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=1_000_000_000)]
CountOrNone = Annotated[int, BeforeValidator(_no_truth), Field(ge=0, le=1_000_000_000)]
LossWeight = Annotated[float, BeforeValidator(_no_truth), Field(ge=0, le=1e30)]
Positive = Annotated[float, BeforeValidator(_no_truth), Field(gt=0, le=1e30)]
Share = Annotated[float, BeforeValidator(_no_truth), Field(ge=0, le=0.5)]


def as_source(value: object) -> object:
    """Read a plain string as a path, and the word `synthetic` as inputs that are made, as many as by default."""
    return {SYNTHETIC: SYNTHETIC_INPUTS} if value == SYNTHETIC else as_path(value)


def as_path(value: object) -> object:
    """Read a plain string as a path."""
    return {"path": value} if isinstance(value, str) else value


class DataSource(StrictModel):
    """Where a task's unlabelled texts or images are: a file or folder, or the name of a data set for `datasets`.

    ``synthetic`` is a number of inputs that are made in place of data.
    """

    shorthand: ClassVar[str] = "path"
    path: Text | None = None
    dataset: Text | None = None
    config: Text | None = None
    split: Text | None = None
    column: Text | None = None
    limit: Count | None = None
    synthetic: Count | None = None

    @model_validator(mode="after")
    def _one_place(self) -> DataSource:
        self._check_place()
        return self

    def _check_place(self) -> None:
        if self.synthetic is not None:
            if others := self.model_fields_set - {SYNTHETIC}:
                raise ValueError(f"`synthetic` inputs are made, so `{min(others)}` has no meaning: leave one out")
            return
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either `path`, a file or folder, or `dataset`, a name for the datasets library")
        if self.config is not None and self.dataset is None:
            raise ValueError("`config` goes with `dataset`, not with `path`")


class HeadSource(StrictModel):
    """Where a task's linear head is, and the names of its tensors where the file holds others too."""

    shorthand: ClassVar[str] = "path"
    path: Text
    weight: Text | None = None
    bias: Text | None = None


class AdaptTask(StrictModel):
    """One task to learn on, named after its model: its unlabelled data and, where it classifies, its head."""

    name: Text
    data: Annotated[DataSource, BeforeValidator(as_path)]
    head: Annotated[HeadSource, BeforeValidator(as_path)] | None = None

    @property
    def made(self) -> bool:
        """Whether the task's inputs are made, not read."""
        return self.data.synthetic is not None


class EncoderOptions(StrictModel):
    """How inputs become features."""

    kind: Literal["auto", "text", "image", "causal", "seq2seq"] = "auto"
    pooling: Literal["mean", "first", "last", "pooler"] | None = None
    max_length: Count = 128
