"""What the class that loads an adapter expects of its file: the task, and the names of the model's modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mergeometry.plan.matching import Match
from mergeometry.sources import Adapter, Checkpoint

_HEADS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
"""Modules that PEFT saves whole, and expects in the file, for a task: `peft/peft_model.py`."""


_CLASSES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
}
"""How the names of the classes end that PEFT has a task for."""


def task_type(models: Sequence[Checkpoint | Adapter], whole: Iterable[str]) -> str | None:
    """The task that all adapters name, unless its head is not among the modules that are written ``whole``.

    Where one full model is all that goes in, its class tells the task.
    """
    named = {model.task_type for model in models if isinstance(model, Adapter)}
    if len(models) == 1 and isinstance(models[0], Checkpoint):
        named = {_task_of(models[0])}
    task = named.pop() if len(named) == 1 else None
    heads = _HEADS.get(task or "", ())
    return None if heads and not any(module.endswith(heads) for module in whole) else task


def _task_of(model: Checkpoint) -> str | None:
    architectures = (model.config or {}).get("architectures")
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    return next((task for end, task in _CLASSES.items() if name.endswith(end)), None)


def names_in_adapter(
    names: Iterable[str], models: Sequence[Checkpoint | Adapter], matches: Sequence[Match], *, of_task: bool
) -> dict[str, str]:
    """The base's names to those in the adapter: the inputs' own, where they agree.

    What precedes all names of the inputs, such as `bert.`, is kept where the class ``of_task`` loads the adapter, and
    is otherwise as in the base.
    """
    adapters = [match for model, match in zip(models, matches, strict=True) if isinstance(model, Adapter)]
    return {name: _name(name, adapters, of_task=of_task) for name in names}


def _name(name: str, adapters: Sequence[Match], *, of_task: bool) -> str:
    theirs = set[str]()
    for match in adapters:
        prefix, own = match.prefix, match.pairs.get(name)
        if own is None and of_task and name.startswith(prefix.base):
            own = prefix.model + name.removeprefix(prefix.base)
        if own is not None:
            theirs.add(own if of_task else prefix.base + own.removeprefix(prefix.model))
    return theirs.pop() if len(theirs) == 1 else name
