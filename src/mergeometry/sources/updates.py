"""Updates that an adapter stores in another form than two factors of a matrix, each with PEFT's own formula.

| update | stored as | the base's weight changes by |
| --- | --- | --- |
| `BiasUpdate` | the bias of B | `scaling * bias` |
| `TokenRows` | some rows of an embedding | `rows - base[tokens]` in those rows |
| `ConvolutionUpdate` | A (r, in, k...), B (out, r, 1...) | `scaling * B @ A`, with A and B as matrices |
| `TuckerUpdate` | A (r, in, 1...), T (r, r, k...), B (out, r, 1...) | `scaling * B @ T @ A` at each point |
| `DoraUpdate` | factors and a magnitude | `m * (W + U) / norm(W + U) - W`, U the update by the factors |
| `ExpertsUpdate` | A (experts * r, in), B (out, r * experts) | `scaling * B_e @ A_e` for each expert e |

None of them is one thin product, so that they are dense from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.sources.lora import AdapterDelta, read_factors
from mergeometry.sources.tensors import TensorInfo

Read: TypeAlias = Callable[[TensorInfo], Tensor]
"""Reads a tensor in the dtype that arithmetic runs in."""


@dataclass(frozen=True, slots=True)
class BiasUpdate:
    """`lora_bias`: the bias of B, which is scaled as B is."""

    info: TensorInfo
    scaling: float

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return (self.info,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the base's tensor that it belongs to."""
        return self.info.shape

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the base of this shape can be updated."""
        return shape == self.shape

    def of(self, read: Read, base: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The update of the base's tensor."""
        return self.scaling * read(self.info).to(base.dtype)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """`trainable_token_indices`: the embeddings of some tokens, in place of the base's."""

    info: TensorInfo
    tokens: tuple[int, ...]

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return (self.info,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The smallest table that has these rows."""
        return (max(self.tokens) + 1, self.info.shape[1])

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the base of this shape can be updated."""
        return len(shape) == 2 and shape[0] >= self.shape[0] and shape[1] == self.shape[1]

    def of(self, read: Read, base: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """The update of the base's table."""
        update = torch.zeros_like(base)
        places = torch.tensor(self.tokens)
        update[places] = read(self.info).to(base.dtype) - base[places]
        return update


@dataclass(frozen=True, slots=True)
class ConvolutionUpdate:
    """LoRA of a convolution: A is a convolution of the same kernel to r channels, B one of kernel 1."""

    inner: TensorInfo
    outer: TensorInfo
    scaling: float

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return (self.inner, self.outer)

    @property
    def rank(self) -> int:
        """Channels between the two convolutions."""
        return self.inner.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the base's weight."""
        return (self.outer.shape[0], *self.inner.shape[1:])

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the base of this shape can be updated."""
        return shape == self.shape

    def of(self, read: Read, base: Float[Tensor, "out in *kernel"]) -> Float[Tensor, "out in *kernel"]:
        """The update of the base's weight."""
        inner, outer = read(self.inner).to(base.dtype), read(self.outer).to(base.dtype)
        return (self.scaling * outer.flatten(1) @ inner.flatten(1)).reshape(base.shape)


@dataclass(frozen=True, slots=True)
class TuckerUpdate:
    """LyCORIS's `lora_mid`: a convolution to r channels, one of the kernel among them, and one to the outputs."""

    inner: TensorInfo
    middle: TensorInfo
    outer: TensorInfo
    scaling: float

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return (self.inner, self.middle, self.outer)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the base's weight."""
        return (self.outer.shape[0], self.inner.shape[1], *self.middle.shape[2:])

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the base of this shape can be updated."""
        ranks = (self.outer.shape[1], self.inner.shape[0])
        return shape == self.shape and tuple(self.middle.shape[:2]) == ranks

    def of(self, read: Read, base: Float[Tensor, "out in *kernel"]) -> Float[Tensor, "out in *kernel"]:
        """The update of the base's weight."""
        inner, middle, outer = (read(info).to(base.dtype) for info in self.infos)
        product = torch.einsum("or,rs...,si->oi...", outer.flatten(1), middle, inner.flatten(1))
        return self.scaling * product


@dataclass(frozen=True, slots=True)
class DoraUpdate:
    """DoRA: the weight with its update by the factors, each output's part of it set to a length that was learned."""

    factors: AdapterDelta | ConvolutionUpdate
    magnitude: TensorInfo

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return (*self.factors.infos, self.magnitude)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the base's weight."""
        return self.factors.shape

    @property
    def _outputs(self) -> int:
        """The dimension of the base's weight that counts the outputs, or the entries of an embedding."""
        return 1 if isinstance(self.factors, AdapterDelta) and self.factors.transposed else 0

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the base of this shape can be updated."""
        return self.factors.fits(shape) and self.magnitude.elements == self.factors.shape[self._outputs]

    def flipped(self) -> DoraUpdate:
        """The same update for a base that stores the weight the other way round.

        Raises:
            ValueError: the weight has one orientation only.
        """
        if not isinstance(self.factors, AdapterDelta):
            raise ValueError("a convolution has one orientation only")
        return replace(self, factors=self.factors.flipped())

    def of(self, read: Read, base: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The update of the base's weight."""
        if isinstance(self.factors, AdapterDelta):
            left, right = read_factors(read, self.factors)
            changed = base + (self.factors.scaling * left @ right).to(base.dtype)
        else:
            changed = base + self.factors.of(read, base)
        others = tuple(place for place in range(base.dim()) if place != self._outputs)
        lengths = torch.linalg.vector_norm(changed, dim=others, keepdim=True)
        magnitude = read(self.magnitude).to(base.dtype).reshape(lengths.shape)
        return magnitude / lengths * changed - base


@dataclass(frozen=True, slots=True)
class ExpertsUpdate:
    """`target_parameters`: a pair of factors for each expert of a stack, or for one bare matrix.

    Outputs and inputs of an expert are stored either way round by different models; ``inputs_first`` says which.
    """

    inner: TensorInfo
    outer: TensorInfo
    rank: int
    scaling: float
    inputs_first: bool = False
    rows: tuple[int, int] | None = None
    """First and last (exclusive) row of the part of one expert that it is alone, counted over all experts."""

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return (self.inner, self.outer)

    @property
    def experts(self) -> int:
        """How many experts there are."""
        return self.inner.shape[0] // self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the base's parameter, (experts, outputs, inputs) unless inputs come first."""
        sides = (self.outer.shape[0], self.inner.shape[1])
        matrix = tuple(reversed(sides)) if self.inputs_first else sides
        return (self.experts, *matrix) if self.rows is None else (self.rows[1] - self.rows[0], matrix[1])

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the base of this shape can be updated."""
        return shape == self.shape or (self.experts == 1 and shape == self.shape[1:])

    def of(self, read: Read, base: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The update of the base's parameter."""
        inner, outer = read(self.inner).to(base.dtype), read(self.outer).to(base.dtype)
        # PEFT's layout: the experts are the slow part of A's rows, and the fast part of B's columns.
        inner = inner.reshape(self.experts, self.rank, -1)
        outer = outer.reshape(outer.shape[0], self.rank, self.experts).permute(2, 0, 1)
        if self.rows is None:
            update = self.scaling * outer @ inner
            return (update.mT if self.inputs_first else update).reshape(base.shape)
        height = inner.shape[2] if self.inputs_first else outer.shape[1]
        expert, first = divmod(self.rows[0], height)
        left, right = (inner[expert].mT, outer[expert].mT) if self.inputs_first else (outer[expert], inner[expert])
        return self.scaling * left[first : first + base.shape[0]] @ right


DenseUpdate: TypeAlias = BiasUpdate | TokenRows | ConvolutionUpdate | TuckerUpdate | DoraUpdate | ExpertsUpdate
"""An update that is formed from the base's tensor as a whole."""
