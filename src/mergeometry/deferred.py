"""The libraries of arithmetic, each imported when something of it is first used.

Importing torch takes seconds, SciPy and jaxtyping tenths of one. What reads a recipe, a header or the parameters of a
method needs none of them, and may still import modules that compute, as these take their libraries from here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import scipy
    import torch
    from jaxtyping import Bool, Float, Int, Shaped
    from numpy.typing import NDArray
    from torch import Tensor
else:

    class _Module:
        """A module that is imported when an attribute of it is first asked for."""

        def __init__(self, name: str) -> None:
            self._name = name
            self._module: ModuleType | None = None

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            if self._module is None:
                self._module = import_module(self._name)
            return getattr(self._module, name)

    class _Annotation:
        """A name for annotations, whose module is imported when one is evaluated, as the tests do."""

        def __init__(self, module: str, name: str) -> None:
            self._module, self._name = module, name

        def __getitem__(self, item: Any) -> Any:
            return getattr(import_module(self._module), self._name)[item]

    class _TensorType(type):
        def __instancecheck__(cls, instance: object) -> bool:
            # While torch is not loaded, nothing is a tensor.
            loaded = sys.modules.get("torch")
            return loaded is not None and isinstance(instance, loaded.Tensor)

    class Tensor(metaclass=_TensorType):
        """Stands for torch.Tensor in annotations and in `isinstance`."""

    np, scipy, torch = _Module("numpy"), _Module("scipy"), _Module("torch")
    Bool, Float, Int, Shaped = (_Annotation("jaxtyping", name) for name in ("Bool", "Float", "Int", "Shaped"))
    NDArray = _Annotation("numpy.typing", "NDArray")

__all__ = ["Bool", "Float", "Int", "NDArray", "Shaped", "Tensor", "np", "scipy", "torch"]
