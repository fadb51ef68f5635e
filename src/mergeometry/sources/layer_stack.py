"""A model put together from layers of others: their tensors under renumbered names, read from where they lie.

What comes before the layers is the first entry's, what comes after them the last one's; another tower, such as a vision
model's, is the first entry's. No tensor is copied: a stack is a checkpoint like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from mergeometry.conventions.configs import sections
from mergeometry.conventions.layer_names import LayerNames
from mergeometry.conventions.layer_settings import Layer, LayerSettingsError, stacked_settings
from mergeometry.errors import SourceError
from mergeometry.sources.checkpoint import CONFIG_FILE, Checkpoint
from mergeometry.sources.layer_checks import check_architectures, check_layers, check_surroundings
from mergeometry.sources.stacked import Layered, LayerStack, Origin, StackedLayers

_STAGED = ("depths", "num_encoder_blocks", "num_hidden_groups", "block_sizes")
"""Keys of models whose layers differ in size by stages, or are shared."""
_ANY_COUNT = ("num_hidden_layers",)
"""How transformers knows every model's count, where its configuration leaves it out."""


def assemble(entries: Sequence[StackedLayers], label: str) -> Checkpoint:
    """Put a checkpoint together from layers of others.

    Raises:
        SourceError: a model has no layers of its own to take, or not those that are asked for; or layers of one do not
            fit the others.
    """
    layered = [_layered(entry) for entry in entries]
    check_architectures(layered)
    settings = _settings(layered)
    check_layers(layered)
    check_surroundings(layered)
    origins = dict(_origins(layered))
    tensors = {name: replace(origin.info, name=name) for name, origin in sorted(origins.items())}
    files = dict.fromkeys(origin.info.file for origin in origins.values())
    model = layered[0].model
    return replace(
        model,
        label=label,
        tensors=tensors,
        config=_with_settings(model.config, settings),
        files=tuple(files),
        changed={**model.changed, **settings},
        stack=LayerStack(tuple(entries), origins),
    )


def _layered(entry: StackedLayers) -> Layered:
    model = entry.checkpoint
    names = LayerNames(model.tensors, model.config)
    tower = names.main
    if tower is None:
        towers = ", ".join(repr(name) for name in names.towers)
        raise SourceError(
            f"a stack takes layers of one tower, and the model has several: {towers}"
            if towers
            else "the model has no numbered layers to take",
            file=model.path,
            hint="stack models that are an encoder or a decoder alone" if towers else None,
        )
    for _, section in sections(model.config):
        if staged := next((key for key in _STAGED if key in section), None):
            raise SourceError(
                f"the model's layers come in stages or groups that differ ({staged} in {CONFIG_FILE}), so none can be "
                "moved",
                file=model.path,
            )
    if entry.last > tower.count:
        raise SourceError(
            f"layers [{entry.first}, {entry.last}] are asked for, and the model has {tower.count}",
            file=model.path,
            hint=f"the end is not included: [0, {tower.count}] takes all of them",
        )
    present = {place.layer for name in model.tensors if (place := names.place(name)) and place.tower == tower}
    for number in range(entry.first, entry.last):
        if number not in present:
            raise SourceError(f"the model has no layer {number}: {tower.name}.{number} is missing", file=model.path)
    return Layered(entry, names, tower)


def _origins(layered: Sequence[Layered]) -> Iterator[tuple[str, Origin]]:
    """Every tensor of the stack by its new name."""
    start = 0
    for number, (entry, names, own) in enumerate(layered):
        end = start + entry.last - entry.first
        for name, info in entry.checkpoint.tensors.items():
            place, origin = names.place(name), Origin(number, info)
            if place is None or place.tower != own:
                if number == 0:
                    yield name, origin
            elif place.layer is not None:
                if entry.first <= place.layer < entry.last:
                    yield names.renamed(name, start + place.layer - entry.first), origin
            elif number == (len(layered) - 1 if place.after else 0):
                extra = names.number(name)
                # Modules after the layers may be numbered on from them.
                yield (name if extra is None else names.renamed(name, end + extra - own.count)), origin
        start = end


def _settings(layered: Sequence[Layered]) -> dict[str, Any]:
    """The first entry's settings that differ for the stack."""
    first, model = layered[0], layered[0].model
    if model.config is None:
        return {}
    if not first.tower.keys and "model_type" not in first.section:
        raise SourceError(
            f"{CONFIG_FILE} does not count the model's layers, so that no file could say how many the stack has",
            file=model.path,
        )
    layers = [
        Layer(each.section, each.tower.count, number)
        for each in layered
        for number in range(each.entry.first, each.entry.last)
    ]
    try:
        counts = {key: len(layers) for key in first.tower.keys or _ANY_COUNT}
        settings = {key: value for key, value in counts.items() if first.section.get(key) != value}
        settings |= stacked_settings(layers)
    except LayerSettingsError as error:
        raise SourceError(
            f"the configuration cannot describe the stack: {error}",
            file=model.path / CONFIG_FILE,
            hint="take layers whose numbers in the stack keep their kind, or other models",
        ) from error
    prefix = f"{first.tower.section}." if first.tower.section else ""
    return {prefix + key: value for key, value in settings.items()}


def _with_settings(config: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """A copy of the configuration with the settings in it."""
    if config is None:
        return None
    changed = deepcopy(dict(config))
    for key, value in settings.items():
        *path, last = key.split(".")
        section = changed
        for part in path:
            section = section[part]
        section[last] = value
    return changed
