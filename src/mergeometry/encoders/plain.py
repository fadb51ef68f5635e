"""Plain PyTorch modules: the user says how inputs become features."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.encoders.base import Batch, Encoder, Features, Inputs
from mergeometry.errors import DataError, MismatchError
from mergeometry.words import nearest

FeatureFunction = Callable[[nn.Module, Any], Float[Tensor, "b d"]]
"""Takes the module and a batch (a tensor, or tensors by name) and returns a feature for each of its inputs."""


class PlainEncoder(Encoder):
    """Any module, run by a feature function ``features(module, inputs)`` that returns (b, width).

    The function must run the module that it is handed, whose weights are not those of the module given here.
    ``names`` leads from names on disk to parameters, or to None; without it they are the parameters' own names.
    The module given is neither changed nor put into another mode.

    Raises:
        MismatchError: ``names`` leads to a parameter that the module does not have.
    """

    budget = 32

    def __init__(
        self,
        module: nn.Module,
        features: FeatureFunction,
        width: int,
        names: Mapping[str, str | None] | None = None,
    ) -> None:
        frozen = {id(own): nn.Parameter(own.detach(), requires_grad=False) for own in module.parameters()}
        shared = {id(own): own for own in module.buffers()}
        self.module = _each_its_own(copy.deepcopy(module, memo={**frozen, **shared})).eval()
        self.width, self._function = width, features
        own = [name for name, _ in self.module.named_parameters()]
        self.names = dict(zip(own, own, strict=True)) if names is None else dict(names)
        known = {name for name, _ in self.module.named_parameters(remove_duplicate=False)}
        problems = [
            f"{name!r} leads to {parameter!r}{nearest(parameter, own)}"
            for name, parameter in self.names.items()
            if parameter is not None and parameter not in known
        ]
        if problems:
            raise MismatchError("names lead to parameters that the module does not have", problems)

    def prepare(self, data: Any) -> Inputs:
        """Take a tensor whose first axis is the input, or a sequence with a tensor, or tensors by name, for each.

        A sequence may make its elements when they are asked for, as a data set does.
        """
        if isinstance(data, Tensor):
            data = data.unbind(0) if data.ndim else ()
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, (str, bytes, Mapping)):
            raise DataError(
                f"A plain module's data are a {type(data).__name__}.",
                hint="give a tensor whose first axis is the input, or a sequence of tensors or of dictionaries of them",
            )
        if not len(data):
            raise DataError("There are no inputs.")
        _check(data[0])
        return Inputs(data, (1,) * len(data), (1,) * len(data))

    def batch(self, items: Sequence[Any]) -> Batch:
        """Stack a few inputs.

        Raises:
            DataError: they are no tensors, or their shapes or names differ.
        """
        for item in items:
            _check(item)
        try:
            if isinstance(items[0], Tensor):
                stacked: Any = torch.stack(list(items)).to(self.device)
            else:
                if any(item.keys() != items[0].keys() for item in items):
                    raise DataError("Inputs of one task have tensors of different names.")
                stacked = {name: torch.stack([item[name] for item in items]).to(self.device) for name in items[0]}
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"Inputs of one task cannot be stacked: {reason}", hint="pad them to one shape") from error
        return Batch({"inputs": stacked}, (1,) * len(items))

    def features(self, module: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Features:
        """What the feature function makes of a batch.

        Raises:
            DataError: it is no tensor of (b, width), or does not depend on the module that the function was handed.
        """
        wrapped = {f"module.{name}": weight for name, weight in weights.items()}
        found = torch.func.functional_call(_Run(module, self._function), wrapped, (batch.arguments["inputs"],))
        expected = (len(batch.rows), self.width)
        if not isinstance(found, Tensor) or tuple(found.shape) != expected:
            what = list(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise DataError(f"The feature function returns {what}, not a tensor of {list(expected)}.")
        if torch.is_grad_enabled() and not found.requires_grad and any(own.requires_grad for own in weights.values()):
            raise DataError(
                "The features do not depend on the weights that are learned.",
                hint="features(module, inputs) must run the module it is handed, with gradients",
            )
        return found.float()


class _Run(nn.Module):
    """Calls the feature function as a forward pass, which is what weights can be put into."""

    def __init__(self, module: nn.Module, function: FeatureFunction) -> None:
        super().__init__()
        self.module, self._function = module, function

    def forward(self, inputs: Any) -> Any:
        return self._function(self.module, inputs)


def _each_its_own(module: nn.Module) -> nn.Module:
    """Put a shell of its own, around the same weights, wherever a submodule stands in a second place.

    torch.func.functional_call gives a module that has two names its weights twice, and takes them away once.
    """
    seen: set[int] = set()

    def visited(found: nn.Module) -> nn.Module:
        again = id(found) in seen
        seen.add(id(found))
        if again:
            found = copy.copy(found)
            for registry in ("_parameters", "_buffers", "_modules"):
                setattr(found, registry, dict(getattr(found, registry)))
        for name, child in found._modules.items():
            found._modules[name] = child if child is None else visited(child)
        return found

    return visited(module)


def _check(item: Any) -> None:
    if isinstance(item, Tensor):
        return
    if isinstance(item, Mapping) and item and all(isinstance(value, Tensor) for value in item.values()):
        return
    raise DataError(
        f"An input is a {type(item).__name__}, not a tensor or a dictionary of tensors.",
        hint="pairs of input and label are not read: give the inputs alone",
    )
