"""The versions that a result may depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("mergeometry", "torch", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on: packages, Python, platform."""
    packages = {package: _version(package) for package in _PACKAGES}
    return {**packages, "python": platform.python_version(), "platform": platform.platform()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
