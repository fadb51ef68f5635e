"""Lays out a model whose weights lie in several places, each a set of files of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mergeometry.conventions.modules import Part, part_of
from mergeometry.sink.layout import FileLayout, Layout, OutputTensor, Slot, lay_out


def lay_out_parts(tensors: Sequence[OutputTensor], parts: Sequence[Part], *, shard_size: int) -> Layout:
    """Lay out every part by itself, in its own folder, and join them; slots keep the tensors' whole names.

    Raises:
        OutputError: as from ``lay_out``.
    """
    groups: dict[Part, list[OutputTensor]] = {}
    for tensor in tensors:
        part = part_of(tensor.name, parts)
        own = replace(tensor, name=tensor.name.removeprefix(part.prefix)) if part.prefix else tensor
        groups.setdefault(part, []).append(own)
    files: list[FileLayout] = []
    slots: dict[str, Slot] = {}
    indexes: dict[str, Mapping[str, Any]] = {}
    for part, own in groups.items() or [(Part(), [])]:
        layout, place = lay_out(own, shard_size=shard_size, stem=part.stem), f"{part.folder}/" if part.folder else ""
        files.extend(replace(file, name=place + file.name) for file in layout.files)
        moved = {name: replace(slot, file=place + slot.file) for name, slot in layout.slots.items()} if place else None
        slots |= {part.prefix + name: slot for name, slot in (moved or layout.slots).items()}
        indexes |= {place + name: index for name, index in layout.indexes.items()}
    return Layout(tuple(files), slots, indexes)
