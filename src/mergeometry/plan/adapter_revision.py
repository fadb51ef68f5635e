"""Decides what an adapter holds by what was measured: ranks, rows of tables, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mergeometry.errors import RecipeError
from mergeometry.plan.adapter_form import AdapterForm, Stored, Survey, saved_modules
from mergeometry.plan.adapter_rank import rank_for
from mergeometry.plan.outputs import lay_out_plan
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe import AdapterOutput
from mergeometry.sink import OutputTensor, token_rows_name
from mergeometry.words import counted

_MOST_ROWS = 0.5
"""Share of a table's rows up to which they are written as rows: beyond it, the whole is about as small."""

_NAMED = 6
"""How many of the tensors that are left out a note names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a merge adds to one tensor: its squared norm, its singular values where asked for, and a table's rows."""

    energy: float
    values: tuple[float, ...] = ()
    rows: tuple[int, ...] | None = None
    """The rows that change, of a table over a vocabulary; None for all else."""


def revised(plan: Plan, findings: Mapping[str, Finding]) -> Plan:
    """The plan with each tensor's final form; what the adapter leaves out is in a note, with its share of the update.

    Raises:
        RecipeError: the merge changes nothing that the adapter may hold.
    """
    form, wanted = plan.form, plan.recipe.output.adapter
    assert form is not None and isinstance(wanted, AdapterOutput)
    forms = _forms(plan, form, wanted, findings)
    rows = _rows(plan, form, wanted, forms, findings)
    whole = {form.names[name] for name, stored in forms.items() if stored == "module" and name not in rows}
    modules = saved_modules(whole, form.names.values())
    # PEFT goes by the ends of names: what it saves whole because of another is written too, changed or not.
    saved = {n for n in form.names if any(form.names[n].startswith(f"{module}.") for module in modules)} - rows.keys()
    forms |= {name: form.stored[name] for name in saved}
    tasks = tuple(_revised(task, form, wanted, forms, rows, findings.get(task.name)) for task in plan.tasks)
    if not any(task.outputs for task in tasks):
        raise RecipeError("output.adapter: the merge changes nothing that the adapter may hold")
    survey = _survey(plan, tasks, findings)
    new = replace(form, stored=forms, modules=modules, rows=rows, survey=survey)
    layout = lay_out_plan(plan.recipe, plan.base, tasks)
    return replace(plan, tasks=tasks, form=new, layout=layout, notes=(*plan.notes, *_notes(survey)))


def _forms(plan: Plan, form: AdapterForm, wanted: AdapterOutput, findings: Mapping[str, Finding]) -> dict[str, Stored]:
    forms: dict[str, Stored] = {}
    for name, stored in form.stored.items():
        changed = name not in findings or findings[name].energy > 0 or name in plan.own
        wholly = stored in ("module", "bias")
        dropped = (wanted.other == "none" and wholly) or (wanted.other != "all" and not changed)
        # A rank that is measured is 0 where nothing changes, and no factors have that rank.
        forms[name] = "nothing" if dropped or (wanted.rank == "auto" and not wholly and not changed) else stored
    return forms


def _rows(
    plan: Plan,
    form: AdapterForm,
    wanted: AdapterOutput,
    forms: dict[str, Stored],
    findings: Mapping[str, Finding],
) -> dict[str, tuple[int, ...]]:
    """Tables of which some rows are written; of a tied pair the table alone, since PEFT changes both halves alike."""
    if wanted.other != "changed":
        return {}
    rows = {}
    for name, stored in forms.items():
        found = findings.get(name)
        if stored != "module" or found is None or not found.rows or name in plan.own:
            continue
        if len(found.rows) <= _MOST_ROWS * plan.base.tensors[name].shape[0]:
            rows[name] = found.rows
    for copy, original in plan.tied.items():
        if copy in rows and original in rows:
            del rows[copy]
            forms[copy] = "nothing"
    return rows


def _revised(
    task: TensorTask,
    form: AdapterForm,
    wanted: AdapterOutput,
    forms: Mapping[str, Stored],
    rows: Mapping[str, tuple[int, ...]],
    finding: Finding | None,
) -> TensorTask:
    if forms[task.name] == "nothing":
        return task if task.method is None and not task.outputs else task.left_out()
    if task.name in rows:
        (whole,) = task.outputs
        name = token_rows_name(form.module(task.name))
        shape = (len(rows[task.name]), whole.shape[1])
        return replace(task, outputs=(OutputTensor(name, whole.code, shape),), rows=rows[task.name])
    if wanted.energy_kept is not None and len(task.outputs) == 2 and finding is not None:
        rank = rank_for(wanted.energy_kept, finding.values)
        return replace(task, outputs=form.factor_pair(task.name, task.shape, rank, task.outputs[0].code))
    return task


def _survey(plan: Plan, tasks: Iterable[TensorTask], findings: Mapping[str, Finding]) -> Survey:
    written = {task.name for task in tasks if task.outputs}
    # The halves of a tied pair are one tensor: what one loses, the other does not lose again.
    energies = {name: found.energy for name, found in findings.items() if name not in plan.tied}
    lost = {name: energy for name, energy in energies.items() if energy > 0 and name not in written}
    return Survey(
        math.fsum(energies.values()),
        dict(sorted(lost.items(), key=lambda item: -item[1])),
        tuple(sorted(name for name, found in findings.items() if found.energy == 0 and name not in written)),
        {name: found.values for name, found in findings.items() if found.values},
    )


def _notes(survey: Survey) -> list[str]:
    if not survey.left_out:
        return []
    names = ", ".join(list(survey.left_out)[:_NAMED]) + (", ..." if len(survey.left_out) > _NAMED else "")
    share = math.fsum(survey.left_out.values()) / survey.energy
    return [
        f"the adapter leaves out {counted(len(survey.left_out), 'tensor')} that the merge changes, with "
        f"{100 * share:.3g} % of the squared norm of the whole update: {names}"
    ]
