"""What the run record says of each input: where it lies, what it is, and a hash of all that was read of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mergeometry.digests import Algorithm
from mergeometry.hub_names import cached_commit, cached_name
from mergeometry.plan.compare import is_base
from mergeometry.plan.plan import Plan, tensors_of
from mergeometry.sink import InputRecord, weights_digest
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.stacked import LayerStack


def input_records(plan: Plan, read: Mapping[tuple[str, str], str], algorithm: Algorithm) -> Iterator[InputRecord]:
    """One record per input, and one per model that a stack takes layers from; none for the base under a second name.

    ``read`` maps (model label, tensor name) to the digest of the tensor's bytes.
    """
    for model, role in ((plan.base, "base"), *((model, "model") for model in plan.models)):
        if role == "model" and is_base(model, plan.base) and not any(label == model.label for label, _ in read):
            continue
        if isinstance(model, Checkpoint) and model.stack is not None:
            yield from _of_stack(model.label, model.stack, role, read, algorithm)
            continue
        kind = "adapter" if isinstance(model, Adapter) else "checkpoint"
        digests = [
            (info.name, info.code, info.shape, read[model.label, info.name])
            for info in tensors_of(model)
            if (model.label, info.name) in read
        ]
        # A base that an adapter is written for is not read.
        path = model.described if isinstance(model, Checkpoint) else str(model.path)
        yield _record(model.label, role, path, kind, weights_digest(digests, algorithm) if digests else "")


def unread(plan: Plan, read: Mapping[tuple[str, str], str]) -> dict[str, list[str]]:
    """Tensors of every input that its hash does not cover, by the input's label; inputs of which all is read lack."""
    names = {
        model.label: [info.name for info in tensors_of(model) if (model.label, info.name) not in read]
        for model in (plan.base, *plan.models)
        if any(label == model.label for label, _ in read)
    }
    return {label: sorted(missed) for label, missed in names.items() if missed}


def stacked_names(plan: Plan) -> dict[str, str]:
    """What the models are called that stacks take layers from, by the labels of their records."""
    stacks = [(model.label, model.stack) for model in (plan.base, *plan.models) if isinstance(model, Checkpoint)]
    return {
        f"{label}[{numbers[0]}]": stack.entries[numbers[0]].checkpoint.name
        for label, stack in stacks
        if stack is not None
        for numbers in _places(stack).values()
    }


def _of_stack(
    label: str, stack: LayerStack, role: str, read: Mapping[tuple[str, str], str], algorithm: Algorithm
) -> Iterator[InputRecord]:
    """A record for each model of a stack, with the layers that are taken from it; each tensor counts once."""
    for path, numbers in _places(stack).items():
        taken = {
            origin.info.name: (origin.info.name, origin.info.code, origin.info.shape, read[label, name])
            for name, origin in stack.origins.items()
            if origin.entry in numbers and (label, name) in read
        }
        layers = ", ".join(f"{stack.entries[place].first}-{stack.entries[place].last}" for place in numbers)
        digest = weights_digest(taken.values(), algorithm) if taken else ""
        yield _record(f"{label}[{numbers[0]}]", role, path, f"checkpoint, layers {layers}", digest)


def _places(stack: LayerStack) -> dict[str, list[int]]:
    """The entries that take layers from a model, by the model's path."""
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(stack.entries):
        places.setdefault(entry.checkpoint.described, []).append(place)
    return places


def _record(label: str, role: str, path: str, kind: str, digest: str) -> InputRecord:
    return InputRecord(label, role, path, kind, digest, cached_name(path) or "", cached_commit(path) or "")
