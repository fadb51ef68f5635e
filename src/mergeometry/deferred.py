"""The libraries of arithmetic, each imported when something of it is first used.

Importing torch takes seconds, SciPy and jaxtyping tenths of one. What reads a recipe, a header or the parameters of a
method needs none of them, and may still import modules that compute, as these take their libraries from here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mergeometry.garbage import uncollected

if TYPE_CHECKING:
    import numpy as np
    import scipy.linalg
    import torch
    from jaxtyping import Bool, Float, Int, Shaped
    from numpy.typing import NDArray
    from torch import Tensor
else:

    class _Module:
        """A package that is imported, with some of its modules, when an attribute of it is first asked for."""

        def __init__(self, name: str, *parts: str) -> None:
            self._name, self._parts = name, parts
            self._module: ModuleType | None = None

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            if self._module is None:
                with uncollected():
                    module = import_module(self._name)
                    for part in self._parts:
                        import_module(f"{self._name}.{part}")
                for act in tuple(_WATCHING):
                    act()
                self._module = module
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

    np, scipy, torch = _Module("numpy"), _Module("scipy", "linalg"), _Module("torch")
    Bool, Float, Int, Shaped = (_Annotation("jaxtyping", name) for name in ("Bool", "Float", "Int", "Shaped"))
    NDArray = _Annotation("numpy.typing", "NDArray")

_WATCHING: list[Callable[[], object]] = []


@contextmanager
def after_loading(act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` each time that a library is loaded meanwhile, before anything of it is used."""
    _WATCHING.append(act)
    try:
        yield
    finally:
        _WATCHING.remove(act)


def load() -> None:
    """Load torch now, where it is known to be needed: not in the first moments of what is timed and shown."""
    torch.Tensor  # noqa: B018


__all__ = ["Bool", "Float", "Int", "NDArray", "Shaped", "Tensor", "after_loading", "load", "np", "scipy", "torch"]
