"""The files next to the weights, checked before a merge or its dry run goes on."""

from __future__ import annotations

from mergeometry.plan.plan import Plan
from mergeometry.sink import SidecarPlan, check_sidecars


def sidecars_of(plan: Plan) -> SidecarPlan:
    """The files that the output gets next to its weights, each of which can be read and rewritten.

    Raises:
        SourceError: a file is not one to copy, cannot be read, or is malformed.
    """
    sidecars = plan.sidecars()
    if not plan.recipe.output.adapter:
        check_sidecars(sidecars)
    return sidecars
