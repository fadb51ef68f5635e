"""A module and fine-tuned state dicts of it, as a merge to learn, and what was learned as a state dict."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mergeometry.conventions.kinds import is_matrix
from mergeometry.encoders.plain import PlainEncoder
from mergeometry.encoders.reached import reached
from mergeometry.encoders.sites import Site
from mergeometry.errors import DataError, MismatchError, NumericalError, RecipeError
from mergeometry.learning.build_learner import Prepared
from mergeometry.learning.learnable import Learnable, learnable_of
from mergeometry.learning.merged import MergedModel
from mergeometry.methods.base import Method
from mergeometry.words import nearest


def check_states(module: nn.Module, experts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Refuse state dicts that are not the module's.

    Raises:
        MismatchError: a tensor is missing, unknown, or of another shape; every one is listed.
        NumericalError: a weight is not finite.
    """
    tensors, problems = module.state_dict(), []
    for label, state in experts.items():
        problems += [f"{label}: {name!r} is missing" for name in tensors if name not in state]
        problems += [
            f"{label}: the module has no tensor {name!r}{nearest(name, list(tensors))}"
            for name in state
            if name not in tensors
        ]
        problems += [
            f"{label}: {name!r} is {list(state[name].shape)}, the module's {list(tensor.shape)}"
            for name, tensor in tensors.items()
            if name in state and state[name].shape != tensor.shape
        ]
    if problems:
        raise MismatchError("the experts' state dicts do not fit the module", problems)
    for label, state in {"the module": tensors, **experts}.items():
        for name, tensor in state.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NumericalError("a weight is NaN or infinite", model=label, tensor=name)


def with_averaged_buffers(module: nn.Module, experts: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
    """A copy of the module in float32 and evaluation mode, whose floating-point buffers are the experts' mean."""
    averaged = copy.deepcopy(module).float().eval()
    saved = averaged.state_dict()
    with torch.no_grad():
        for name, buffer in averaged.named_buffers():
            if name in saved and buffer.is_floating_point():
                buffer.copy_(torch.stack([state[name].to(buffer) for state in experts.values()]).mean(dim=0))
    return averaged


def merged_of(
    encoder: PlainEncoder, experts: Mapping[str, Mapping[str, Tensor]], data: Any, method: Method, other: Method
) -> tuple[MergedModel, list[str]]:
    """Every parameter that an expert changed, and a note on those that the features do not depend on.

    Raises:
        RecipeError: a method has no part for each task, or cannot merge a tensor.
        DataError: the features depend on no parameter that an expert changed.
    """
    if other.matrices_only:
        raise RecipeError(f"`other` is {type(other).__name__}, which merges only matrices")
    linear = {f"{name}.weight" for name, layer in encoder.module.named_modules() if isinstance(layer, nn.Linear)}
    tensors: dict[str, Learnable] = {}
    for name, base in encoder.module.named_parameters():
        deltas = [state[name].to(base).sub(base) for state in experts.values()]
        if not any(bool(delta.any()) for delta in deltas):
            continue
        matrix = name in linear and is_matrix(name, base.shape)
        chosen, weights = method if matrix or not method.matrices_only else other, [1.0] * len(deltas)
        try:
            chosen.check(len(deltas), tuple(base.shape), weights)
            parts = chosen.parts([delta.cpu() for delta in deltas], weights)
        except ValueError as error:
            raise RecipeError(f"tensor {name!r}: {error}") from error
        tensors[name] = learnable_of(parts).to(encoder.device)
    leaves = {name: encoder.base(name).clone().requires_grad_() for name in tensors}
    batch = encoder.batch([encoder.prepare(data).items[0]])
    used = reached(encoder.features(encoder.module, leaves, batch), leaves) if leaves else set()
    if not used:
        raise DataError("the features depend on no parameter that an expert changed")
    idle = [name for name in tensors if name not in used]
    note = f"the features do not depend on {len(idle)} merged tensors, so nothing is learned for them: "
    sites = [Site(name, name, transposed=False) for name in tensors if name in used]
    return MergedModel(encoder, tensors, sites), [note + ", ".join(idle[:3]) + (", ..." if idle[3:] else "")] * bool(
        idle
    )


def expert_weights(encoder: PlainEncoder, state: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """All tensors that the expert's own features depend on, its buffers included."""
    tensors = {**dict(encoder.module.named_parameters()), **dict(encoder.module.named_buffers())}
    known = {name: value for name, value in tensors.items() if name in state and value.is_floating_point()}
    return [(name, state[name].detach().to(value)) for name, value in known.items()]


def learned_state_dict(module: nn.Module, averaged: nn.Module, prepared: Prepared) -> dict[str, Tensor]:
    """The module's tensors with the learned merge in place of its parameters, in their own dtypes."""
    merged, first = prepared.scene.merged, {id(parameter): name for name, parameter in module.named_parameters()}
    tensors = {}
    shared = dict(module.named_parameters(remove_duplicate=False))
    buffers = averaged.state_dict()
    for name, value in module.state_dict().items():
        parameter = first.get(id(shared.get(name)))
        if parameter in merged.tensors:
            assert parameter is not None
            update = merged.tensors[parameter].update(prepared.table.of(parameter))
            tensors[name] = merged.encoder.base(parameter).add(update).to(value)
        else:
            tensors[name] = buffers[name].to(value) if parameter is None else value.detach().clone()
    return tensors
