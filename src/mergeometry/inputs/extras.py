"""Libraries that only some sources need, imported when a source needs them."""

from __future__ import annotations

import importlib
from typing import Any

from mergeometry.errors import DataError
from mergeometry.words import install_extra


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an extra; if it is missing, DataError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        what = f"{purpose} needs {name}, which cannot be imported ({error})"
        raise DataError(what, hint=install_extra(extra)) from error
