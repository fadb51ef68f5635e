"""The libraries of arithmetic, each imported when something of it is first used.

Importing torch takes seconds, SciPy and jaxtyping tenths of one. What reads a recipe, a header or the parameters of a
method needs none of them, and may still import modules that compute, as these take their libraries from here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
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

    def _package(name: str, *parts: str) -> Any:
        """A package that is imported, with some of its modules, when an attribute of it is first asked for."""

        class Package:
            def __getattribute__(self, attribute: str) -> Any:
                if attribute.startswith("__"):
                    return object.__getattribute__(self, attribute)
                with uncollected():
                    module = import_module(name)
                    for part in parts:
                        import_module(f"{name}.{part}")
                for act in tuple(_WATCHING):
                    act()
                # From now on the package answers by itself: a merge asks hundreds of thousands of times.
                Package.__getattribute__ = module.__getattribute__
                return getattr(module, attribute)

        return Package()

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

    np, scipy, torch = _package("numpy"), _package("scipy", "linalg"), _package("torch")
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
