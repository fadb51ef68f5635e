"""Gives the modules of a LoRA file to those of a base, by names that are equal or by the originals' aliases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mergeometry.conventions.lora_aliases import Target, aliases
from mergeometry.errors import MismatchError, SourceError
from mergeometry.sources.adapter import Adapter
from mergeometry.sources.adapter_config import ScalingTable
from mergeometry.sources.checkpoint import Checkpoint
from mergeometry.sources.lora import AdapterDelta
from mergeometry.sources.lora_file import LoraFile, LoraModule
from mergeometry.sources.tensors import TensorInfo
from mergeometry.sources.updates import BiasUpdate, ConvolutionUpdate, DenseUpdate, DoraUpdate, TuckerUpdate

_LISTED = 5
_PREFIXES = ("model.diffusion_model.", "model.", "transformer.")
"""What checkpoints have in front of names that LoRA files give without."""


@dataclass(frozen=True, slots=True)
class _Names:
    """The base's modules by every name that a file may give them."""

    dotted: Mapping[str, tuple[Target, ...]]
    underscored: Mapping[str, tuple[Target, ...] | None]
    """None where two modules have one name once dots are underscores."""

    def targets(self, module: LoraModule) -> tuple[Target, ...] | None:
        if module.underscored:
            return self.underscored.get(module.key)
        return self.dotted.get(module.key)


def resolved(file: LoraFile, base: Checkpoint) -> tuple[Adapter, list[str]]:
    """The adapter that a LoRA file holds for a base, and notes on what it holds for other models.

    Raises:
        MismatchError: no model of the file has all of its modules in the base; the missing ones are listed.
        SourceError: shapes do not fit, or a setting is not read.
    """
    names = _names_of(base)
    missing = {
        component: [module.key for module in modules if not names.targets(module)]
        for component, modules in file.modules.items()
    }
    fitting = [component for component, lacking in missing.items() if not lacking]
    if len(fitting) > 1:
        fitting = [max(fitting, key=lambda component: len(file.modules[component]))]
    if not fitting:
        raise MismatchError("a LoRA file does not fit the base", list(_reasons(file, names, missing)), hint=_hint(file))
    (component,) = fitting
    adapter = _adapter(file, component, names)
    others = [f"{other or 'another'} ({len(modules)})" for other, modules in file.modules.items() if other != component]
    notes = []
    if others:
        notes.append(
            f"{file.label}: what it holds for other models is not merged here, by their numbers of modules: "
            f"{', '.join(others)}; merge onto each of them by a run of its own"
        )
    return adapter, notes


def _names_of(base: Checkpoint) -> _Names:
    shapes = {
        name.removesuffix(".weight"): info.shape
        for name, info in base.tensors.items()
        if name.endswith(".weight") and len(info.shape) > 1
    }
    dotted = {module: (Target(module),) for module in shapes}
    for prefix in _PREFIXES:
        dotted |= {
            short: (Target(module),)
            for module in shapes
            if module.startswith(prefix) and (short := module.removeprefix(prefix)) not in dotted
        }
    dotted |= {name: targets for name, targets in aliases(shapes).items() if name not in dotted}
    underscored: dict[str, tuple[Target, ...] | None] = {}
    for name, targets in dotted.items():
        short = name.replace(".", "_")
        underscored[short] = targets if underscored.get(short, targets) == targets else None
    return _Names(dotted, underscored)


def _reasons(file: LoraFile, names: _Names, missing: Mapping[str, Sequence[str]]) -> Iterable[str]:
    for component, keys in missing.items():
        unclear = [key for key in keys if key in names.underscored]
        listed = ", ".join(keys[:_LISTED]) + (", ..." if len(keys) > _LISTED else "")
        of = f" of {component}" if component else ""
        yield f"{file.label}: {len(keys)} of {len(file.modules[component])} modules{of} are not the base's: {listed}"
        if unclear:
            yield f"{file.label}: {unclear[0]!r} is the name of several modules, once dots are underscores"


def _hint(file: LoraFile) -> str:
    return (
        f"it is for {', '.join(filter(None, file.modules)) or 'another model'}: give that model's own folder as the "
        "base, such as the unet or transformer of a pipeline"
    )


def _adapter(file: LoraFile, component: str, names: _Names) -> Adapter:
    deltas: dict[str, AdapterDelta] = {}
    updates: dict[str, DenseUpdate] = {}
    config = file.settings.get(component)
    table = ScalingTable(config) if config is not None else None
    for module in file.modules[component]:
        targets = names.targets(module)
        assert targets
        if table is not None:
            scaling = table.scaling(module.key, module.rank)
        else:
            scaling = 1.0 if module.alpha is None else module.alpha / module.rank
        for target in targets:
            _add(file, module, target, scaling, deltas, updates)
    return Adapter(
        path=file.path,
        label=file.label,
        deltas=dict(sorted(deltas.items())),
        updates=dict(sorted(updates.items())),
        stacked={},
        replaced={},
        carried={},
        base_name=None,
        task_type=None,
        config={} if config is None else config.values,
        metadata={},
        files=(file.path,),
        component=component,
    )


def _add(
    file: LoraFile,
    module: LoraModule,
    target: Target,
    scaling: float,
    deltas: dict[str, AdapterDelta],
    updates: dict[str, DenseUpdate],
) -> None:
    weight = f"{target.module}.weight"
    if weight in deltas or weight in updates:
        raise SourceError(f"two modules of the file change {weight!r}", file=file.path, tensor=module.parts["up"].name)
    down, up = module.parts["down"], _rows(module.parts["up"], target.rows)
    update: AdapterDelta | DenseUpdate
    if mid := module.parts.get("mid"):
        update = TuckerUpdate(down, mid, up, scaling)
    elif len(down.shape) > 2:
        update = ConvolutionUpdate(down, up, scaling)
    else:
        update = AdapterDelta(target.module, up, down, scaling, transposed=False, embedding=False)
    if (magnitude := module.parts.get("magnitude")) and not isinstance(update, TuckerUpdate):
        update = DoraUpdate(update, magnitude)
    if isinstance(update, AdapterDelta):
        deltas[weight] = update
    else:
        updates[weight] = update
    if bias := module.parts.get("bias"):
        updates[f"{target.module}.bias"] = BiasUpdate(_rows(bias, target.rows), scaling)


def _rows(info: TensorInfo, rows: tuple[int, int] | None) -> TensorInfo:
    """Where some rows of a tensor lie, as a tensor of their own."""
    if rows is None:
        return info
    first, last = rows
    if last > info.shape[0]:
        raise SourceError(
            f"the factor has {info.shape[0]} rows, and the base's modules take {last}", file=info.file, tensor=info.name
        )
    size = math.prod(info.shape[1:]) * info.item_size
    return replace(
        info,
        name=f"{info.name}[{first}:{last}]",
        shape=(last - first, *info.shape[1:]),
        start=info.start + first * size,
        nbytes=(last - first) * size,
    )
