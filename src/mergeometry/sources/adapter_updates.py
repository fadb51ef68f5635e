"""From pairs of factors, as an adapter's file names them, to the updates of the base's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mergeometry.conventions.peft import MERGE_HINT
from mergeometry.dtypes import MERGEABLE
from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import AdapterConfig, ScalingTable
from mergeometry.sources.experts import Pair, StackedFactors, split_stacks
from mergeometry.sources.lora import AdapterDelta
from mergeometry.sources.tensors import TensorInfo
from mergeometry.sources.updates import BiasUpdate, ConvolutionUpdate, DenseUpdate, DoraUpdate


@dataclass(slots=True)
class Contents:
    """What an adapter's file holds, by the name of the base's tensor; ``stacked`` by module."""

    replaced: dict[str, TensorInfo]
    carried: dict[str, TensorInfo]
    deltas: dict[str, AdapterDelta] = field(default_factory=dict)
    updates: dict[str, DenseUpdate] = field(default_factory=dict)
    stacked: dict[str, StackedFactors] = field(default_factory=dict)


class FactorPairs:
    """Checks pairs of factors, and adds their updates to what a file holds."""

    def __init__(self, config: AdapterConfig, file: Path) -> None:
        self._config, self._file = config, file
        self._table = ScalingTable(config)

    def add_layers(
        self,
        contents: Contents,
        inner: Mapping[str, TensorInfo],
        outer: Mapping[str, TensorInfo],
        magnitudes: Mapping[str, TensorInfo],
    ) -> None:
        """Add the updates of linear layers, convolutions and stacks of experts; SourceError if one is malformed."""
        layers, contents.stacked = split_stacks({name: (inner[name], outer[name]) for name in inner}, self._config)
        for stack in contents.stacked.values():
            for pair in stack.pairs:
                self._check_pair(pair, dimensions=(2,))
        for module, pair in layers.items():
            self._check_pair(pair, dimensions=(2, 3, 4, 5))
            self._refuse_wrapped(module, pair[0])
            scaling = self._table.scaling(module, self._rank(module, pair))
            if len(pair[0].shape) > 2:
                convolution = self._convolution(pair, scaling)
                self._add(contents, f"{module}.weight", self._with_magnitude(convolution, magnitudes.get(module), pair))
                continue
            left, right = pair if self._config.fan_in_fan_out else reversed(pair)
            delta = AdapterDelta(module, left, right, scaling, self._config.fan_in_fan_out, embedding=False)
            self._add(contents, delta.weight, self._with_magnitude(delta, magnitudes.get(module), pair))

    def add_embeddings(
        self,
        contents: Contents,
        inner: Mapping[str, TensorInfo],
        outer: Mapping[str, TensorInfo],
        magnitudes: Mapping[str, TensorInfo],
    ) -> None:
        """Add the updates of embeddings; SourceError if one is malformed."""
        for module, down in inner.items():
            pair = down, outer[module]
            self._check_pair(pair, dimensions=(2,))
            rank = self._rank(module, pair)
            delta = AdapterDelta(module, *pair, self._table.scaling(module, rank), transposed=True, embedding=True)
            self._add(contents, delta.weight, self._with_magnitude(delta, magnitudes.get(module), pair))

    def add_biases(self, contents: Contents, biases: Mapping[str, TensorInfo], inner: Mapping[str, TensorInfo]) -> None:
        """Add the updates of biases by the biases of B; SourceError if one is malformed."""
        for module, info in biases.items():
            fine = f"{module}.weight" in contents.deltas or f"{module}.weight" in contents.updates
            if not fine or len(info.shape) != 1 or info.code not in MERGEABLE:
                raise SourceError(
                    f"a bias of shape {info.shape} and dtype {info.code} is of no layer that has one",
                    file=self._file,
                    tensor=info.name,
                    hint=MERGE_HINT,
                )
            contents.updates[f"{module}.bias"] = BiasUpdate(info, self._table.scaling(module, inner[module].shape[0]))

    def _refuse_wrapped(self, key: str, info: TensorInfo) -> None:
        if "base_layer" in key.split("."):
            # PEFT's own forward pass adds the update of the output projection twice (peft 0.21).
            raise SourceError(
                "parts of the adapter are not understood: a layer within a wrapped one, as of nn.MultiheadAttention",
                file=self._file,
                tensor=info.name,
                hint=MERGE_HINT,
            )

    def _add(self, contents: Contents, weight: str, update: AdapterDelta | DenseUpdate) -> None:
        if weight in contents.deltas or weight in contents.updates:
            raise SourceError(f"two pairs of factors belong to {weight!r}", file=self._file)
        if isinstance(update, AdapterDelta):
            contents.deltas[weight] = update
        else:
            contents.updates[weight] = update

    def _rank(self, module: str, pair: Pair) -> int:
        inner, outer = pair
        rank, promised = inner.shape[0], self._table.rank(module)
        if len(inner.shape) > 2 and outer.shape[1] and rank % outer.shape[1] == 0 and rank > outer.shape[1]:
            raise SourceError(
                f"it adapts a convolution of {rank // outer.shape[1]} groups; PEFT's A mixes the inputs of all groups, "
                "which the weight of that layer cannot hold",
                file=self._file,
                tensor=outer.name,
                hint="it cannot be merged, by peft either; train it without that layer",
            )
        if outer.shape[1] != rank:
            raise SourceError(
                f"factors A {inner.shape} and B {outer.shape} have different ranks", file=self._file, tensor=outer.name
            )
        if rank != promised:
            raise SourceError(
                f"the factors have rank {rank}, but the settings say {promised}",
                file=self._file,
                tensor=inner.name,
                hint="adapter_config.json and adapter_model.safetensors may be of different adapters",
            )
        return rank

    def _convolution(self, pair: Pair, scaling: float) -> ConvolutionUpdate:
        inner, outer = pair
        if len(outer.shape) != len(inner.shape) or set(outer.shape[2:]) != {1}:
            raise SourceError(
                f"factors A {inner.shape} and B {outer.shape} are not those of a convolution",
                file=self._file,
                tensor=outer.name,
                hint=MERGE_HINT,
            )
        return ConvolutionUpdate(inner, outer, scaling)

    def _with_magnitude(
        self, update: AdapterDelta | ConvolutionUpdate, magnitude: TensorInfo | None, pair: Pair
    ) -> AdapterDelta | DenseUpdate:
        if not self._config.dora:
            return update
        if (
            magnitude is None
            or magnitude.code not in MERGEABLE
            or magnitude.elements != max(magnitude.shape, default=0)
        ):
            raise SourceError(
                "the adapter uses use_dora, and these factors have no magnitude for each output",
                file=self._file,
                tensor=pair[0].name,
                hint="save the adapter again",
            )
        return DoraUpdate(update, magnitude)

    def _check_pair(self, pair: Pair, *, dimensions: tuple[int, ...]) -> None:
        for info in pair:
            if info.elements == 0 or len(info.shape) < 2:
                raise SourceError(
                    f"the factor has the shape {info.shape}",
                    file=self._file,
                    tensor=info.name,
                    hint="sharded training saves such pieces; gather the parameters before saving",
                )
            if len(info.shape) not in dimensions:
                raise SourceError(
                    f"the factor has {len(info.shape)} dimensions", file=self._file, tensor=info.name, hint=MERGE_HINT
                )
            if info.code not in MERGEABLE:
                raise SourceError(f"tensors of dtype {info.code} cannot be merged", file=self._file, tensor=info.name)
