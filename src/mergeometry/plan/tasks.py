"""What is done to one tensor: a frozen, printable value that workers receive as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mergeometry.deferred import Tensor
from mergeometry.plan.cost import Cost, cost_of
from mergeometry.plan.route import Route, route_of
from mergeometry.recipe.scale import ScaleRule
from mergeometry.sink import OutputTensor
from mergeometry.sources import AdapterDelta, DenseUpdate, TensorInfo

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.refinements.base import Refinement

Source: TypeAlias = TensorInfo | AdapterDelta | DenseUpdate | None
"""Where a task's update of one tensor comes from; None for an adapter that does not change the tensor."""


@dataclass(frozen=True, slots=True)
class TensorTask:
    """One tensor to produce: its inputs, what is done to it, and how it is written.

    Its route and its cost follow from that and are computed when it is built, so `dataclasses.replace` computes them
    again.
    """

    name: str
    kind: Literal["matrix", "other", "copied"]
    base: TensorInfo
    sources: tuple[Source, ...]
    method: Method | None
    """None where the base's tensor is copied as it is."""
    method_name: str
    weights: tuple[float, ...]
    scale: float
    transposed: bool
    equal: tuple[tuple[str, TensorInfo], ...]
    """(model label, tensor) that must equal the base's: integers, and copies that an adapter stores."""
    outputs: tuple[OutputTensor, ...]
    """One tensor, or the two factors of an adapter; empty where the output is an adapter that does not change it."""
    turned: Tensor | None = field(default=None, compare=False, repr=False)
    """A rotation R of the inputs to fold into the merged matrix, ``W R``; none by default."""
    refinements: tuple[tuple[str, Refinement], ...] = ()
    """Steps after the merge, in order, each with its name in the recipe."""

    weighs_first: bool = False
    """Whether weights multiply the task vectors before the method, which then treats the models alike."""

    scaling: ScaleRule | None = None
    """A rule for the scale: of this tensor once it is merged, or of all tensors, whose result is then ``scale``."""

    values: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The weights, the scale and the parameters here, where the recipe does not give one number for all."""

    slices: tuple[TensorTask, ...] = field(default=(), repr=False)
    """A task for each of the matrices that the tensor holds, in the order in which they lie; none by default."""

    rows: tuple[int, ...] = field(default=(), repr=False)
    """Rows of a merged table that are written in place of the whole, which an adapter can hold; all by default."""

    route: Route = field(init=False)
    cost: Cost = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "route", route_of(self))
        object.__setattr__(self, "cost", cost_of(self))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its task vectors: (outputs, inputs) for matrices, whatever the file's layout."""
        return tuple(reversed(self.base.shape)) if self.transposed else tuple(self.base.shape)

    @property
    def scale_in_words(self) -> str:
        """The number, or the rule that will compute it; empty where the tensor is copied."""
        if self.method is None:
            return ""
        return f"{self.scale:g}" if self.scaling is None else self.scaling.text

    @property
    def scales_itself(self) -> bool:
        """Whether its scale is computed from this tensor alone, so that it is known only after the merge."""
        return self.scaling is not None and self.scaling.per == "tensor"

    @property
    def steps(self) -> str:
        """The method and the refinements after it, in words."""
        return " + ".join([self.method_name, *(name for name, _ in self.refinements)])

    def left_out(self) -> TensorTask:
        """The same tensor where it is neither computed nor written, as in an adapter that does not change it."""
        return TensorTask(
            self.name, "copied", self.base, (), None, "copy", self.weights, 0.0, False, self.equal, ()
        )  # fmt: skip

    def renamed(
        self, name: str, base: TensorInfo, sources: tuple[Source, ...], outputs: tuple[OutputTensor, ...]
    ) -> TensorTask:
        """The task of another tensor of the same shapes, dtypes and values, whose route and cost are the same."""
        # `dataclasses.replace` would compute them again, and `copy` takes a sixth of the plan of a large mixture.
        task = object.__new__(type(self))
        for key in self.__slots__:
            object.__setattr__(task, key, getattr(self, key))
        for key, value in (("name", name), ("base", base), ("sources", sources), ("outputs", outputs)):
            object.__setattr__(task, key, value)
        return task

    @property
    def adapters_only(self) -> bool:
        """Whether every model's update is low-rank, since none holds the tensor itself or a dense update of it."""
        return all(source is None or isinstance(source, AdapterDelta) for source in self.sources)

    @property
    def embedding(self) -> bool:
        """Whether adapters change it as an embedding, by factors."""
        return any(isinstance(source, AdapterDelta) and source.embedding for source in self.sources)

    @property
    def forms_updates(self) -> bool:
        """Whether an adapter's update of the tensor is formed from the base's tensor as a whole."""
        return any(isinstance(source, DenseUpdate) for source in self.sources)
