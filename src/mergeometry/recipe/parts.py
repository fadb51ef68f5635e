"""The parts of a recipe that are values of their own: a model, a method, a rule, the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from mergeometry.byte_counts import bytes_in
from mergeometry.digests import DEFAULT, Algorithm
from mergeometry.hub_names import folder_name
from mergeometry.recipe.adapter_output import AdapterOutput
from mergeometry.recipe.residuals import ResidualOutput
from mergeometry.recipe.stack import LayerRange
from mergeometry.recipe.strict import StrictModel
from mergeometry.recipe.values import Value


class ModelEntry(StrictModel):
    """One fine-tuned model or adapter: its path, or the layers that it is put together from, its name and its weight.

    Further keys are parameters of the recipe's methods that may differ per model, such as `density` of TIES.
    """

    shorthand: ClassVar[str] = "path"
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Value]  # pyright: ignore[reportIncompatibleVariableOverride]
    path: str = ""
    name: str = ""
    weight: Value = 1.0
    stack: tuple[LayerRange, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> ModelEntry:
        if bool(self.path) == bool(self.stack):
            raise ValueError("give either `path`, or `stack` with at least one entry of `path` and `layers`")
        return self

    @model_serializer(mode="wrap")
    def _without_the_other(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = "path" if self.stack else "stack"
        return {key: value for key, value in serialize(self).items() if key != unused}

    @property
    def paths(self) -> tuple[str, ...]:
        """Its path, or those of the models that it is stacked from."""
        return tuple(entry.path for entry in self.stack) or (self.path,)

    @property
    def folder(self) -> str:
        """What the model is called by its folder; a stack by those of all its entries."""
        return "+".join(dict.fromkeys(folder_name(path) for path in self.paths))

    def located(self, locate: Callable[[str], str]) -> ModelEntry:
        """The same with every path as ``locate`` gives it."""
        if not self.stack:
            return self.model_copy(update={"path": locate(self.path)})
        return self.model_copy(update={"stack": tuple(entry.located(locate) for entry in self.stack)})

    @property
    def own(self) -> dict[str, Any]:
        """The parameters that are given for this model alone."""
        return dict(self.model_extra or {})


class MethodChoice(BaseModel):
    """A method's name and parameters; the method itself checks them."""

    shorthand: ClassVar[str] = "name"
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @property
    def given(self) -> dict[str, Any]:
        """The parameters that the recipe sets."""
        return dict(self.model_extra or {})


def as_method(value: object) -> object:
    """A name, a mapping, or a method or refinement itself, which says how a recipe writes it."""
    choice = getattr(value, "choice", None)
    if callable(choice):
        return choice()
    return {"name": value} if isinstance(value, str) else value


def as_model(value: object) -> object:
    """A model's entry as a mapping, whatever form its path comes in; `adapter` stands for `path: PATH+ADAPTER`."""
    if isinstance(value, Mapping) and isinstance(adapter := value.get("adapter"), str | Path) and "path" in value:
        rest = {key: item for key, item in value.items() if key not in ("path", "adapter")}
        return {"path": f"{value['path']}+{adapter}", **rest}
    if isinstance(value, Mapping) and isinstance(value.get("path"), Path):
        return {**value, "path": str(value["path"])}
    return {"path": str(value)} if isinstance(value, str | Path) else value


def _size(value: object) -> object:
    """A number of bytes, where one is written as text; the check of the type names anything else."""
    counted = bytes_in(value) if isinstance(value, str) else None
    return value if counted is None else counted


MethodField = Annotated[MethodChoice, BeforeValidator(as_method)]


class TensorRule(StrictModel):
    """What holds for the tensors whose names match a glob; the first rule that matches wins."""

    match: Annotated[str, Field(min_length=1)]
    method: MethodField | None = None
    scale: Value | None = None


class OutputOptions(StrictModel):
    """How the result is written."""

    dtype: Literal["base", "float64", "float32", "float16", "bfloat16"] = "base"
    shard_size: Annotated[int, BeforeValidator(_size), Field(ge=1_000_000)] = 5_000_000_000
    digest: Algorithm = DEFAULT
    adapter: Annotated[
        Annotated[bool, Tag("<switch>")] | Annotated[AdapterOutput, Tag("<options>")],
        Discriminator(lambda value: "<options>" if isinstance(value, Mapping | AdapterOutput) else "<switch>"),
    ] = False
    residuals: ResidualOutput | None = None
    """What the merge lost of each model, as a small adapter per model beside it; none by default."""
    report: Annotated[bool, Field(exclude=True)] = True
    """Whether `mergeometry merge` writes a page beside the output; no part of what the record says was merged."""

    @model_validator(mode="after")
    def _residuals_of_a_model(self) -> OutputOptions:
        if self.residuals is not None and self.adapter:
            raise ValueError(
                "residuals: they lie on top of a merged model, and the output is an adapter: leave one of the two out"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if key != "residuals" or value is not None}


Heads = Annotated[
    Annotated[Literal["auto"], Tag("<word>")] | Annotated[tuple[str, ...], Tag("<globs>")],
    Discriminator(lambda value: "<word>" if isinstance(value, str) else "<globs>"),
]
