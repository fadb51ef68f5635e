"""Checks that layers of several models fit into one: names, shapes, and what the configuration says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from mergeometry.conventions.layer_settings import Layer, kinds
from mergeometry.conventions.ties import halves, tying
from mergeometry.errors import SourceError
from mergeometry.sources.checkpoint import Checkpoint
from mergeometry.sources.stacked import Layered

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Shapes of one layer's tensors, by their names after the layer's number."""


def check_architectures(layered: Sequence[Layered]) -> None:
    """Refuse models of different types, or whose layers have different names; SourceError names the file."""
    first = layered[0]
    for other in layered[1:]:
        one, two = ((each.model.config or {}).get("model_type") for each in (first, other))
        if one != two:
            raise SourceError(
                f"the model is of type {two!r}, and the stack's first entry of type {one!r}",
                file=other.model.path,
                hint="stack layers of models of one architecture",
            )
        if other.tower.name != first.tower.name:
            raise SourceError(
                f"the model's layers are called {other.tower.name!r}, those of the stack's first entry "
                f"{first.tower.name!r}",
                file=other.model.path,
                hint="save both models with the same class and the same version of transformers",
            )


def check_layers(layered: Sequence[Layered]) -> None:
    """Refuse layers with other tensors than the configuration lets the stack have at their new numbers.

    Raises:
        SourceError: a tensor is missing, is too much, or has another shape; it names file, layer and tensor.
    """
    first = layered[0]
    own = _layers(first)
    by_kind: dict[object, Shapes] = {}
    explained = True
    for number, shapes in own.items():
        kind = kinds(Layer(first.section, first.tower.count, number))
        explained &= by_kind.setdefault(kind, shapes) == shapes
    place = 0
    for each in layered:
        theirs = own if each.model is first.model else _layers(each)
        for number in range(each.entry.first, each.entry.last):
            if explained:
                expected = by_kind.get(kinds(Layer(each.section, each.tower.count, number)))
                where = "the layers of the stack's first entry"
            else:  # the layers differ by their numbers alone, as where only the first has a table of positions
                expected = own[min(place, max(own))]
                where = f"layer {min(place, max(own))} of the stack's first entry, where it would stand"
            if expected is None:
                raise SourceError(
                    f"layer {number} is of a kind that the stack's first entry does not have", file=each.model.path
                )
            _compare(each, number, theirs[number], expected, where)
            place += 1


def check_surroundings(layered: Sequence[Layered]) -> None:
    """Refuse ends of the stack that do not fit its start: other heads, vocabularies, or another way of tying them."""
    first, last = layered[0], layered[-1]
    if first.model is last.model:
        return
    one, two = (_is_tied(each.model) for each in (first, last))
    if one != two:
        raise SourceError(
            f"the model {'ties' if two else 'does not tie'} its output layer to its table of words, and the stack's "
            f"first entry {'does' if one else 'does not'}",
            file=last.model.path,
            hint="save both with an output layer of their own, or take start and end of the stack from one model",
        )
    mine, theirs = (_after(each) for each in (first, last))
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            shown = [f"has shape {list(shape)}" if shape is not None else "is missing"
                     for shape in (theirs.get(name), mine.get(name))]  # fmt: skip
            raise SourceError(
                f"the tensor {shown[0]}, and in the stack's first entry {shown[1]}",
                file=last.model.path,
                tensor=name,
                hint="what comes after the layers is the last entry's: take the end of the stack from a model with the "
                "same head and vocabulary",
            )


def _compare(each: Layered, number: int, shapes: Shapes, expected: Shapes, where: str) -> None:
    for name in sorted(shapes.keys() | expected.keys()):
        if shapes.get(name) == expected.get(name):
            continue
        if name not in expected:
            what = f"layer {number} has this tensor, unlike {where}"
        elif name not in shapes:
            what = f"layer {number} lacks this tensor, unlike {where}"
        else:
            what = f"layer {number} has it in shape {list(shapes[name])}, {where} in {list(expected[name])}"
        raise SourceError(
            what,
            file=each.model.path,
            tensor=f"{each.tower.name}.{number}.{name}",
            hint="stack layers of models of one architecture and size",
        )


def _layers(each: Layered) -> dict[int, dict[str, tuple[int, ...]]]:
    """The shapes of every layer's tensors."""
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, info in each.model.tensors.items():
        place = each.names.place(name)
        if place is not None and place.tower == each.tower and place.layer is not None:
            rest = name.removeprefix(f"{each.tower.name}.{place.layer}.")
            layers.setdefault(place.layer, {})[rest] = info.shape
    return layers


def _after(each: Layered) -> dict[str, tuple[int, ...]]:
    after = {}
    for name, info in each.model.tensors.items():
        place = each.names.place(name)
        if place is not None and place.tower == each.tower and place.after and each.names.number(name) is None:
            after[name] = info.shape
    return after


def _is_tied(model: Checkpoint) -> bool:
    """Whether the output layer is the table of words: stored once, and not declared to be apart."""
    found = halves({name: info.shape for name, info in model.tensors.items()})
    declared = tying(model.config)
    return found.output is None and declared is not False if declared is not True else True
