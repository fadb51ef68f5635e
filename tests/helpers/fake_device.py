"""A device that is none: its tensors compute on the CPU, but meet tensors of the CPU, or become such, only if told to.

Tensors on it say that they are on PyTorch's device `meta`, so code takes them for tensors of another device. An
operation on them and on a tensor of the CPU raises, as on a GPU, and `.numpy()` does. Copies between the two and
numbers that Python reads are counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")

_READS = {"aten._local_scalar_dense.default", "aten.is_nonzero.default", "aten.equal.default"}
"""Operations by which Python reads a number of a tensor, for which it waits until the device is done."""


class Elsewhere(Tensor):
    """A tensor of the fake device, around the tensor of the CPU that holds its values."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=DEVICE,
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of the fake device's `with`")


class FakeDevice(TorchDispatchMode):
    """Carries out operations on its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        """How often Python has read a number."""
        self.moves: Counter[str] = Counter()
        """How many tensors were copied `to` the device and `from` it."""
        self.entries: Counter[str] = Counter()
        """How many entries they had together."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or PyTorch loads its compiler, which takes seconds

    def put(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor on the device."""
        return Elsewhere(tensor.clone())

    def _count(self, direction: str, tensor: Tensor) -> None:
        self.moves[direction] += 1
        self.entries[direction] += tensor.numel()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        here = [each for each in given if isinstance(each, Elsewhere)]
        name, target = str(func), kwargs.get("device")
        moved = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        # As on a GPU, a number of the CPU may take part in an operation.
        if here and not moved and (bad := [each for each in given if each.dim() and not isinstance(each, Elsewhere)]):
            raise RuntimeError(f"{name}: a tensor of the CPU ({tuple(bad[0].shape)}) among tensors of the device")
        if func is torch.ops.aten.copy_.default and len(here) == 1:
            self._count("to" if isinstance(args[0], Elsewhere) else "from", args[0])
        stays = bool(here) and target is None
        if target is not None:
            stays = torch.device(target) == DEVICE
            kwargs["device"] = torch.device("cpu")
            if func is torch.ops.aten._to_copy.default and stays != bool(here):
                self._count("to" if stays else "from", args[0])
        if func is torch.ops.aten.copy_.default:
            stays = isinstance(args[0], Elsewhere)
        self.reads += bool(here) and name in _READS
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        wrapped = {id(each.held): each for each in here}
        inner = tree_map(lambda each: each.held if isinstance(each, Elsewhere) else each, (args, kwargs))
        result = func(*inner[0], **inner[1])
        if not stays:
            return result
        if torch.Tag.inplace_view in func.tags:
            with no_dispatch():
                func(*args, **kwargs)  # the shape that the tensor says it has
        # What was changed in place comes back as the tensor that was passed.
        return tree_map(lambda each: wrapped.get(id(each)) if id(each) in wrapped else _put(each), result)


def _put(result: Any) -> Any:
    return Elsewhere(result) if isinstance(result, Tensor) else result
