"""Factors of bare parameters, which PEFT stores by the module that holds the parameters and not by their names.

A module with several such parameters is wrapped once for each, the first one innermost: `experts.base_layer.lora_A`
belongs to one parameter of `experts`, `experts.lora_A` to another. Which is which follows from the base's shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import AdapterConfig, ScalingTable
from mergeometry.sources.tensors import TensorInfo
from mergeometry.sources.updates import ExpertsUpdate

Pair: TypeAlias = tuple[TensorInfo, TensorInfo]
"""A and B."""

_WRAPPED = ".base_layer"


@dataclass(frozen=True, slots=True)
class StackedFactors:
    """The pairs of factors of one module, innermost first, and the parameters that they are of."""

    module: str
    pairs: tuple[Pair, ...]
    parameters: Mapping[str, tuple[int, float]]
    """Name of each parameter to its rank and scaling."""

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk."""
        return tuple(info for pair in self.pairs for info in pair)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the base's tensors that are updated."""
        return tuple(f"{self.module}.{name}" for name in self.parameters)

    def settled(self, shapes: Mapping[str, tuple[int, ...]], inputs_first: bool | None) -> dict[str, ExpertsUpdate]:
        """Give each parameter its pair, by the base's shapes; ``inputs_first`` tells the layout where it is known.

        Raises:
            ValueError: no pair fits a parameter, or several do; the message fits after "the adapter's experts ".
        """
        updates: dict[str, ExpertsUpdate] = {}
        for name, (rank, scaling) in self.parameters.items():
            weight = f"{self.module}.{name}"
            fitting = [
                update
                for inner, outer in self.pairs
                if inner.shape[0] % rank == 0 and outer.shape[1] == inner.shape[0]
                for update in _layouts(ExpertsUpdate(inner, outer, rank, scaling), shapes[weight], inputs_first)
            ]
            if len(fitting) != 1:
                what = f"{len(fitting)} pairs of factors fit" if fitting else "no pair of factors fits"
                raise ValueError(f"cannot be told apart: {what} {weight!r} of shape {list(shapes[weight])}")
            updates[weight] = fitting[0]
        if len({update.inner.name for update in updates.values()}) < len(self.pairs):
            raise ValueError(f"cannot be told apart: a pair of factors of {self.module!r} fits no parameter")
        return updates


def split_stacks(pairs: Mapping[str, Pair], config: AdapterConfig) -> tuple[dict[str, Pair], dict[str, StackedFactors]]:
    """Split pairs by module into those of layers, and those of bare parameters by the settings.

    Raises:
        SourceError: there are more or fewer pairs than parameters.
    """
    layers, depths = dict(pairs), dict[str, dict[int, Pair]]()
    for key in pairs:
        module, depth = _unwrapped(key)
        if _parameters(module, config):
            depths.setdefault(module, {})[depth] = layers.pop(key)
    table, stacks = ScalingTable(config), dict[str, StackedFactors]()
    for module, by_depth in depths.items():
        names = _parameters(module, config)
        if len(names) != len(by_depth):
            raise SourceError(
                f"{len(by_depth)} pairs of factors belong to {len(names)} parameters of {module!r}",
                file=config.file,
                hint="target_parameters in adapter_config.json may be of another adapter",
            )
        parameters = {}
        for name in names:
            rank = table.rank(f"{module}.{name}")
            parameters[name] = rank, table.scaling(f"{module}.{name}", rank)
        ordered = tuple(by_depth[depth] for depth in sorted(by_depth, reverse=True))
        stacks[module] = StackedFactors(module, ordered, parameters)
    return layers, stacks


def _layouts(update: ExpertsUpdate, shape: tuple[int, ...], inputs_first: bool | None) -> list[ExpertsUpdate]:
    """The update in each layout that fits the shape; a bare matrix is always (outputs, inputs)."""
    known = (False,) if len(shape) == 2 else (False, True) if inputs_first is None else (inputs_first,)
    return [layout for first in known if (layout := replace(update, inputs_first=first)).fits(shape)]


def _unwrapped(key: str) -> tuple[str, int]:
    module = key
    while module.endswith(_WRAPPED):
        module = module.removesuffix(_WRAPPED)
    return module, (len(key) - len(module)) // len(_WRAPPED)


def _parameters(module: str, config: AdapterConfig) -> list[str]:
    """Names of a module's parameters that the settings target as bare parameters; `weight` is one of a layer."""
    names = dict[str, None]()
    for target in config.target_parameters:
        owner, _, name = target.rpartition(".")
        # A bare name is of whatever module holds such a parameter: in the models that PEFT knows, the experts.
        owner = owner or "experts"
        if name != "weight" and (module == owner or module.endswith(f".{owner}")):
            names[name] = None
    return list(names)
