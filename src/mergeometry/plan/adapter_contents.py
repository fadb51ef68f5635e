"""What an adapter holds and how much of the update that is, for the run record and for tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mergeometry.plan.adapter_form import AdapterForm
from mergeometry.plan.adapter_rank import full_rank
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask


def adapter_contents(plan: Plan, energies: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """The rank of every module and the share of its squared norm that is kept; None where the output is no adapter.

    ``energies`` are the squared norms of the updates that factors hold, kept and whole.
    """
    form = plan.form
    if form is None:
        return None
    pairs = [task for task in plan.tasks if len(task.outputs) == 2]
    modules = [_module(form, task, energies[task.name]) for task in pairs]
    held = [energies[task.name] for task in pairs if task.name not in plan.tied]
    whole = math.fsum(energy for _, energy in held)
    lost = whole - math.fsum(kept for kept, _ in held)
    contents: dict[str, Any] = {"energy_kept_in_factors": _share(whole - lost, whole), "modules": modules}
    if (survey := form.survey) is not None:
        lost += math.fsum(survey.left_out.values())
        contents["energy_kept"] = _share(survey.energy - lost, survey.energy)
        contents["left_out"] = {name: energy / survey.energy for name, energy in survey.left_out.items()}
        contents["unchanged"] = list(survey.unchanged)
    written = (task.name for task in plan.tasks if task.outputs)
    contents["whole"] = sorted(n for n in written if form.stored[n] in ("module", "bias") and n not in form.rows)
    contents["rows"] = {name: len(rows) for name, rows in form.rows.items()}
    return contents


def estimated_energies(plan: Plan) -> dict[str, tuple[float, float]]:
    """The same squared norms by the singular values that a survey measured, for a dry run."""
    assert plan.form is not None and plan.form.survey is not None
    energies = {}
    for task in plan.tasks:
        if len(task.outputs) == 2:
            rank = task.outputs[0].shape[0]
            squares = [value * value for value in plan.form.survey.values.get(task.name, ())]
            energies[task.name] = math.fsum(squares[:rank]), math.fsum(squares)
    return energies


def _module(form: AdapterForm, task: TensorTask, energies: Sequence[float]) -> dict[str, Any]:
    kept, whole = energies
    return {
        "module": form.module(task.name),
        "rank": task.outputs[0].shape[0],
        "full_rank": full_rank(task.base.shape),
        "energy_kept": _share(kept, whole),
    }


def _share(kept: float, whole: float) -> float:
    return min(1.0, max(0.0, kept / whole)) if whole > 0 else 1.0
