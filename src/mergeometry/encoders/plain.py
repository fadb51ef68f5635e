"""Plain PyTorch modules, with a function from the user that turns inputs into features."""

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
"""Takes the module and a batch (a tensor, or tensors by name) and returns one feature per input."""


class PlainEncoder(Encoder):
    """Any module, run by a feature function ``features(module, inputs)`` that returns (b, width).

    The function must run the module that it is called with, whose weights differ from those of the module given here.
    ``names`` maps names on disk to parameters or to None; by default the names are the parameters' own. The given
    module is neither changed nor switched to another mode.

    Raises:
        MismatchError: ``names`` maps to a parameter that the module does not have.
    """

    budget = 32

    def __init__(
        self,
        module: nn.Module,
        features: FeatureFunction,
        width: int,
        names: Mapping[str, str | None] | None = None,
    ) -> None:
        frozen = {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in module.parameters()}
        shared = {id(buffer): buffer for buffer in module.buffers()}
        self.module = _each_its_own(copy.deepcopy(module, memo={**frozen, **shared})).eval()
        self.width, self._function = width, features
        parameters = [name for name, _ in self.module.named_parameters()]
        self.names = dict(zip(parameters, parameters, strict=True)) if names is None else dict(names)
        known = {name for name, _ in self.module.named_parameters(remove_duplicate=False)}
        problems = [
            f"{name!r} maps to {parameter!r}{nearest(parameter, parameters)}"
            for name, parameter in self.names.items()
            if parameter is not None and parameter not in known
        ]
        if problems:
            raise MismatchError("names map to parameters that the module does not have", problems)

    def prepare(self, data: Any) -> Inputs:
        """Take a tensor whose first axis runs over inputs, or a sequence with a tensor or tensors by name per input.

        A sequence may create its elements on access, as a data set does.
        """
        if isinstance(data, Tensor):
            data = data.unbind(0) if data.ndim else ()
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, (str, bytes, Mapping)):
            raise DataError(
                f"a plain module cannot read data of type {type(data).__name__}",
                hint="give a tensor whose first axis runs over inputs, or a sequence of tensors or tensors by name",
            )
        if not len(data):
            raise DataError("there are no inputs")
        _check(data[0])
        return Inputs(data, (1,) * len(data), (1,) * len(data))

    def batch(self, items: Sequence[Any]) -> Batch:
        """Stack a few inputs.

        Raises:
            DataError: an input is not a tensor or tensors by name, or shapes or names differ.
        """
        for item in items:
            _check(item)
        try:
            if isinstance(items[0], Tensor):
                stacked: Any = torch.stack(list(items)).to(self.device)
            else:
                if any(item.keys() != items[0].keys() for item in items):
                    raise DataError("inputs of one task have tensors of different names")
                stacked = {name: torch.stack([item[name] for item in items]).to(self.device) for name in items[0]}
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"inputs of one task cannot be stacked: {reason}", hint="pad them to one shape") from error
        return Batch({"inputs": stacked}, (1,) * len(items))

    def features(self, module: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Features:
        """What the feature function returns for a batch.

        Raises:
            DataError: the result is not a tensor of (b, width), or does not depend on the module that the function is
                called with.
        """
        wrapped = {f"module.{name}": weight for name, weight in weights.items()}
        features = torch.func.functional_call(_Run(module, self._function), wrapped, (batch.arguments["inputs"],))
        expected = (len(batch.rows), self.width)
        if not isinstance(features, Tensor) or tuple(features.shape) != expected:
            what = list(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
            raise DataError(f"the feature function returns {what}, not a tensor of {list(expected)}")
        learning = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights.values())
        if learning and not features.requires_grad:
            raise DataError(
                "the features do not depend on the weights that are learned",
                hint="features(module, inputs) must run the module it is called with, with gradients",
            )
        return features.float()


class _Run(nn.Module):
    """Calls the feature function as a forward pass, so that functional_call can replace the weights."""

    def __init__(self, module: nn.Module, function: FeatureFunction) -> None:
        super().__init__()
        self.module, self._function = module, function

    def forward(self, inputs: Any) -> Any:
        return self._function(self.module, inputs)


def _each_its_own(module: nn.Module) -> nn.Module:
    """Give a submodule that occurs several times a shallow copy for each further place, around the same weights.

    torch.func.functional_call sets the weights of a module with two names twice, and restores them once.
    """
    seen: set[int] = set()

    def visited(submodule: nn.Module) -> nn.Module:
        again = id(submodule) in seen
        seen.add(id(submodule))
        if again:
            submodule = copy.copy(submodule)
            for registry in ("_parameters", "_buffers", "_modules"):
                setattr(submodule, registry, dict(getattr(submodule, registry)))
        for name, child in submodule._modules.items():
            submodule._modules[name] = child if child is None else visited(child)
        return submodule

    return visited(module)


def _check(item: Any) -> None:
    if isinstance(item, Tensor):
        return
    if isinstance(item, Mapping) and item and all(isinstance(value, Tensor) for value in item.values()):
        return
    raise DataError(
        f"an input is a {type(item).__name__}, not a tensor or a dictionary of tensors",
        hint="pairs of input and label are not read: give the inputs alone",
    )
