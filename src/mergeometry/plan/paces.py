"""How long merges on this machine took against what their plans said, kept in the user's cache for later plans.

A plan's seconds are those of a common server. Each merge from the command line that takes some time leaves, for each
route, the seconds planned and those taken; later plans of the same machine multiply by their ratio.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypeAlias

from mergeometry import limits
from mergeometry.cache import cache_folder, made_in_cache
from mergeometry.errors import MergeometryError
from mergeometry.plan.machine import cores, processor
from mergeometry.plan.plan import Plan
from mergeometry.regular_files import read_regular

Paces: TypeAlias = Mapping[str, float]
"""Seconds that each route takes for each second that the rates of a common server give it."""

_WORTH = 5.0
"""Seconds of a route below which a merge says more of what else the machine did."""

_FADING = 0.5
"""What an earlier merge counts beside the next, which may have run on a machine less busy."""

_BOUNDS = 0.02, 50.0

_FILE = "paces.json"


def paces(device: str = "auto") -> Paces:
    """Return the paces that earlier merges left; none where there were none, or their file cannot be read."""
    found = _read().get(_identity(device))
    ratios: dict[str, float] = {}
    for route, kept in found.items() if isinstance(found, dict) else ():
        planned, taken = _figures(kept)
        if planned and taken:
            ratios[route] = min(max(taken / planned, _BOUNDS[0]), _BOUNDS[1])
    return ratios


def remember(plan: Plan, taken: Mapping[str, float], device: str = "auto") -> None:
    """Keep the seconds that a merge has taken for each output tensor; a cache that cannot be written stays as it is."""
    planned, seconds = defaultdict[str, float](float), defaultdict[str, float](float)
    for task in plan.tasks:
        if task.outputs and task.outputs[0].name in taken:
            planned[task.route] += task.cost.seconds
            seconds[task.route] += taken[task.outputs[0].name]
    routes = [route for route in planned if seconds[route] >= _WORTH and planned[route] > 0]
    if not routes:
        return
    kept = _read()
    own = kept.get(_identity(device))
    own = own if isinstance(own, dict) else {}
    for route in routes:
        before = _figures(own.get(route))
        own[route] = {"planned": _FADING * before[0] + planned[route], "taken": _FADING * before[1] + seconds[route]}
    kept[_identity(device)] = own
    with suppress(OSError, MergeometryError):
        target = made_in_cache(cache_folder()) / _FILE
        staged = target.with_name(f".{_FILE}.{os.getpid()}")
        staged.write_text(json.dumps(kept, indent=1), "utf-8")
        staged.replace(target)


def _read() -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError, MergeometryError):
        found = json.loads(read_regular(cache_folder() / _FILE, limits.JSON_BYTES))
        if isinstance(found, dict):
            return found
    return {}


def _figures(kept: Any) -> tuple[float, float]:
    """Seconds planned and taken of a route; none where what was kept is damaged."""
    with suppress(TypeError, KeyError, ValueError, OverflowError):
        planned, taken = float(kept["planned"]), float(kept["taken"])
        if planned > 0 and taken > 0 and math.isfinite(planned) and math.isfinite(taken):
            return planned, taken
    return 0.0, 0.0


def _identity(device: str) -> str:
    """What the pace depends on: the processor, the cores that may be used, the build of torch, the device."""
    return f"{processor()}, {cores()} cores, torch {version('torch')}, device {device}"
