"""Values: what a recipe gives for a number that may differ from tensor to tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_serializer, model_validator

from mergeometry.conventions.layer_names import Place
from mergeometry.recipe.strict import StrictModel

Scalar: TypeAlias = float | bool | str
"""What a value is for one tensor."""


def no_switch(value: object) -> object:
    """Refuse a boolean where a number is meant."""
    if isinstance(value, bool):
        raise ValueError(f"a number is needed, got {str(value).lower()}")
    return value


Factor = Annotated[float, BeforeValidator(no_switch), Field(ge=-1e30, le=1e30)]
"""A number to multiply tensors by; it must fit in float32."""


def _several(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) < 2:
        raise ValueError("a gradient is a list of two or more numbers, from the first layer to the last")
    return value


Gradient = Annotated[tuple[Factor, ...], BeforeValidator(_several)]
"""Numbers from the first layer to the last, interpolated linearly."""


def _kind_of_value(value: object) -> str:
    if isinstance(value, Mapping | Case):
        return "<cases>"
    if not isinstance(value, list | tuple):
        return "<number>"
    return "<cases>" if any(isinstance(item, Mapping | Case) for item in value) else "<gradient>"


class Case(StrictModel):
    """A value for the tensors whose names match a glob, or of some layers; with neither, for all others.

    ``layers`` is a range such as ``[0, 8]``, without its end, ``before`` or ``after`` the layers. A gradient spans the
    range that it is given for.
    """

    shorthand: ClassVar[str] = "value"
    match: Annotated[str, Field(min_length=1)] | None = None
    layers: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] | Literal["before", "after"] | None = None
    value: (
        Annotated[bool, Field(strict=True)]
        | Annotated[float, Field(strict=True, ge=-1e30, le=1e30)]
        | Gradient
        | Annotated[str, Field(strict=True)]
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _range(cls, value: object) -> object:
        if value in ("before", "after", None):
            return value
        if not (isinstance(value, list | tuple) and len(value) == 2 and all(type(end) is int for end in value)):
            raise ValueError("a range of layers such as [0, 8], without its end, or before, or after")
        if value[0] >= value[1]:
            raise ValueError(f"a range of layers ends before it begins, got {list(value)}")
        return value

    @model_serializer
    def _given(self) -> dict[str, Any]:
        given = {"match": self.match, "layers": self.layers, "value": self.value}
        return {key: list(item) if isinstance(item, tuple) else item for key, item in given.items() if item is not None}

    def holds(self, name: str, place: Place | None) -> bool:
        """Whether a tensor falls under it; ``place`` is None in a model without layers."""
        if self.match is not None and not fnmatchcase(name, self.match):
            return False
        if self.layers is None:
            return True
        if place is None or place.layer is None:
            return place is not None and self.layers == ("after" if place.after else "before")
        return not isinstance(self.layers, str) and self.layers[0] <= place.layer < self.layers[1]

    @model_validator(mode="after")
    def _gradient_of_layers(self) -> Case:
        if isinstance(self.layers, str) and isinstance(self.value, tuple):
            raise ValueError(f"there is no gradient {self.layers} the layers: give one value")
        return self


def _no_single(value: object) -> object:
    if isinstance(value, Mapping):
        raise ValueError("cases are a list, such as [{match: '*mlp*', value: 0.5}, {value: 1}]")
    return value


Value = Annotated[
    Annotated[Factor, Tag("<number>")]
    | Annotated[Gradient, Tag("<gradient>")]
    | Annotated[tuple[Case, ...], BeforeValidator(_no_single), Field(min_length=1), Tag("<cases>")],
    Discriminator(_kind_of_value),
]
"""A number; a gradient over the layers; or cases, of which the first that a tensor falls under counts."""

AnyValue: TypeAlias = Scalar | tuple[float, ...] | tuple[Case, ...]


def is_varied(value: object) -> bool:
    """Whether a value, checked or as YAML has it, may differ between tensors."""
    return isinstance(value, list | tuple)


def value_for(value: AnyValue, name: str, place: Place | None) -> Scalar:
    """What a value is for the tensor of this name and place among the layers.

    Raises:
        ValueError: no case holds for it; the message fits after "tensor X: ".
    """
    if not isinstance(value, tuple):
        return value
    if not isinstance(value[0], Case):
        return _interpolated(value, place, None)
    case = next((case for case in value if isinstance(case, Case) and case.holds(name, place)), None)
    if case is None:
        raise ValueError("no case holds for it: add a last one with `value` alone, for all other tensors")
    if not isinstance(case.value, tuple):
        return case.value
    return _interpolated(case.value, place, case.layers if isinstance(case.layers, tuple) else None)


def some_value(value: AnyValue) -> Scalar:
    """One of the values that it stands for: the first that is written down."""
    if not isinstance(value, tuple):
        return value
    first = value[0].value if isinstance(value[0], Case) else value[0]
    return first[0] if isinstance(first, tuple) else first


def cases_of(value: AnyValue) -> Iterator[Case]:
    """Its cases; none where it is the same for all tensors, or a gradient."""
    if isinstance(value, tuple):
        yield from (item for item in value if isinstance(item, Case))


def has_gradient(value: AnyValue) -> bool:
    """Whether some number in it depends on a tensor's layer."""
    if not isinstance(value, tuple):
        return False
    cases = list(cases_of(value))
    return not cases or any(isinstance(case.value, tuple) or isinstance(case.layers, tuple) for case in cases)


def _interpolated(numbers: Sequence[Any], place: Place | None, span: tuple[int, int] | None) -> float:
    """The number at a layer's depth in its tower, or in a span of it.

    As in mergekit, tensors before and after the layers take the first number, and an only layer the last.
    """
    if place is None or place.layer is None:
        return numbers[0]
    first, end = span or (0, place.tower.count)
    depth = (place.layer - first) / (end - 1 - first) if end - 1 > first else 1.0
    scaled = depth * (len(numbers) - 1)
    low = int(scaled)
    high = min(low + 1, len(numbers) - 1)
    return (1 - (scaled - low)) * numbers[low] + (scaled - low) * numbers[high]
