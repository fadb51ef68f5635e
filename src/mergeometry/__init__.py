"""Merge fine-tuned models and LoRA adapters by the geometry of their weight updates.

    import mergeometry as mg

    run = mg.merge(mg.load_recipe("recipe.yaml"), output="merged/")
    merged = mg.merge_modules(base, [first, second], mg.methods.TSVM())
    tau = mg.methods.DCMerge(smoothing="linear")(deltas)

What needs torch is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mergeometry import methods, refinements
    from mergeometry.api import compare, evaluate, extract, inspect, make_plan, merge, mixture, transplant
    from mergeometry.comparison.evaluate import Evaluation
    from mergeometry.comparison.result import Comparison
    from mergeometry.errors import MergeometryError
    from mergeometry.execution.cluster import Ray
    from mergeometry.learning.api import Learned, learn
    from mergeometry.plan import Plan
    from mergeometry.recipe import Recipe, load_recipe
    from mergeometry.results import Inspection, Run
    from mergeometry.routing import Router, fit_router
    from mergeometry.sink import RunRecord
    from mergeometry.state_dicts import merge_modules, merge_state_dicts
    from mergeometry.values import Directions, LowRank
    from mergeometry.verification.result import Verification
    from mergeometry.verification.verify import verify

_HOMES = {
    "Comparison": "comparison.result",
    "Directions": "values",
    "Evaluation": "comparison.evaluate",
    "Inspection": "results",
    "Learned": "learning.api",
    "LowRank": "values",
    "MergeometryError": "errors",
    "Plan": "plan",
    "Ray": "execution.cluster",
    "Recipe": "recipe",
    "Router": "routing",
    "Run": "results",
    "RunRecord": "sink",
    "Verification": "verification.result",
    "compare": "api",
    "evaluate": "api",
    "extract": "api",
    "fit_router": "routing",
    "transplant": "api",
    "verify": "verification.verify",
    "inspect": "api",
    "learn": "learning.api",
    "load_recipe": "recipe",
    "make_plan": "api",
    "merge": "api",
    "merge_modules": "state_dicts",
    "merge_state_dicts": "state_dicts",
    "mixture": "api",
}

__all__ = [
    "Comparison",
    "Directions",
    "Evaluation",
    "Inspection",
    "Learned",
    "LowRank",
    "MergeometryError",
    "Plan",
    "Ray",
    "Recipe",
    "Router",
    "Run",
    "RunRecord",
    "Verification",
    "compare",
    "evaluate",
    "extract",
    "fit_router",
    "inspect",
    "learn",
    "load_recipe",
    "make_plan",
    "merge",
    "merge_modules",
    "merge_state_dicts",
    "methods",
    "mixture",
    "refinements",
    "transplant",
    "verify",
]


if not TYPE_CHECKING:  # if a type checker saw it, every misspelt name would be `Any`

    def __getattr__(name: str) -> Any:
        if name in {"methods", "refinements"}:
            return import_module(f"mergeometry.{name}")
        if name in _HOMES:
            return getattr(import_module(f"mergeometry.{_HOMES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
