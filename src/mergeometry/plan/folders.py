"""Accounts for every file with weights in the inputs' folders: merged, passed over with a note, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.conventions.folders import Kind
from mergeometry.sources import Adapter, Checkpoint

_REFUSED = frozenset({Kind.PART, Kind.UNREAD, Kind.WEIGHTS})
_NOTED = (Kind.COPY, Kind.TRAINING, Kind.HEADS)
_LISTED = 5


def unread_weights(model: Checkpoint | Adapter) -> Iterator[str]:
    """One sentence on each file of a model's folder that holds weights which the merge would lose."""
    for entry in model.contents:
        if entry.kind in _REFUSED and not entry.read:
            what = entry.words if entry.kind is Kind.PART else "weights of an unknown meaning"
            yield (
                f"{model.label}: {entry.name!r} holds {what}, which a merge would lose; if the merged model can do "
                "without, merge a copy of the folder that lacks the file, else save it as a part of the model's own "
                "*.safetensors"
            )
    yield from _nested_modules(model)


def passed_over(model: Checkpoint | Adapter) -> Iterator[str]:
    """Notes on what else a folder holds: copies in other formats, the state of training, heads of an earlier merge."""
    for kind in _NOTED:
        names = [entry.name for entry in model.contents if entry.kind is kind and not entry.read]
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            yield f"{model.label}: {', '.join(names[:_LISTED])}{more} not read: {kind.value}"


def _nested_modules(model: Checkpoint | Adapter) -> Iterator[str]:
    for module in model.modules if isinstance(model, Checkpoint) else ():
        if module.is_nested:
            yield f"{model.label}: the module {module.path!r} is a {module.kind} of further modules, which are not read"
