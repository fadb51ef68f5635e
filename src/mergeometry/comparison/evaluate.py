"""Scores one model on disk, merged or not, on labelled tasks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mergeometry.comparison.figures import measured, spread_of_task
from mergeometry.comparison.generation import Generation, check_generation
from mergeometry.comparison.read_inputs import TEST, read_splits
from mergeometry.comparison.result import Measure, mean_of
from mergeometry.comparison.scorer import Scorer
from mergeometry.comparison.tasks_file import TasksFile
from mergeometry.encoders.pooling import with_pooling
from mergeometry.encoders.sites import expert_weights, sites_of
from mergeometry.errors import DataError, MismatchError, SourceError
from mergeometry.execution.devices import chosen_device
from mergeometry.execution.threads import one_thread
from mergeometry.plan import make_plan
from mergeometry.recipe import load_recipe
from mergeometry.sources import Adapter, open_model


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's accuracy, or perplexity, on the test inputs of each task."""

    measure: Measure
    """What figures are: accuracies, or perplexities of language models."""
    tasks: dict[str, float]
    """The figure of each task."""
    spread: dict[str, float]
    """Standard deviation of each task's figure over resampled inputs."""
    inputs: dict[str, int]
    """How many test inputs each task has."""
    mean: float
    """The mean of accuracies, or the geometric mean of perplexities."""
    notes: tuple[str, ...]
    """What was left out or decided, in sentences."""
    generation: dict[str, Generation] | None = None
    """What a language model writes for each task, where it was asked for."""

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain JSON values."""
        return asdict(self)


def evaluate(
    folder: Path, tasks: TasksFile, base: Path | None = None, *, generate: bool = False, device: str = "cpu"
) -> Evaluation:
    """Score the model in a folder on every task's test inputs, and with ``generate`` also what it writes.

    ``device`` is cpu, cuda, cuda:1, or auto: a GPU where there is one.

    An adapter needs the ``base`` that it belongs to, and so does a model without configuration or tokenizer of its own.

    Raises:
        RecipeError: there is no such device.
        SourceError: there is no model, or an adapter without its base.
        DataError: ``generate`` is set, and the model is not a causal language model.
        MismatchError: tasks, heads and inputs do not fit the model; it lists every reason.
    """
    chosen = str(chosen_device(device))
    model = open_model(folder, "the model")
    plan = None
    if base is None and isinstance(model, Adapter):
        raise SourceError(
            "the folder holds an adapter",
            file=folder,
            hint="give the base that it belongs to: --base BASE, or base= in Python",
        )
    if base is not None:
        entry = {"path": str(folder), "name": "the model"}
        plan = make_plan(load_recipe({"base": str(base), "models": [entry], "method": "task_arithmetic"}))
    checkpoint = plan.base if plan is not None else model
    assert not isinstance(checkpoint, Adapter)
    tasks = tasks.model_copy(
        update={"encoder": with_pooling(tasks.encoder, [checkpoint], [task.head for task in tasks.tasks])}
    )
    splits, problems, notes = read_splits(tasks, checkpoint, {TEST: [task.name for task in tasks.tasks]})
    if problems:
        raise MismatchError("the tasks are not usable", problems, hint="no weight was read")
    with one_thread():
        scorer = Scorer(checkpoint, tasks.encoder, splits, chosen)
        if plan is not None:
            scorer.load(expert_weights(plan, 0, scorer.encoder, sites_of(plan, scorer.encoder)))
        names = [task.name for task in tasks.tasks]
        counts = scorer.counts(TEST)
        measure: Measure = "accuracy" if counts is None else "perplexity"
        if generate and counts is None:
            raise DataError(
                "only texts of causal language models are continued", file=folder, hint="leave `generate` out"
            )
        written = None
        if generate:
            tokens = {name: scorer.next_tokens(TEST, name) for name in names}
            scores = {name: likelihoods for name, (likelihoods, _) in tokens.items()}
            written = {name: check_generation(scorer, TEST, name, shares) for name, (_, shares) in tokens.items()}
        else:
            scores = scorer.scores(TEST, names)
    inputs = {task: len(one.data.items) for task, one in splits[TEST].items()}
    figures = measured(measure, scores, counts)
    spread = {task: spread_of_task(measure, scores, counts, task) for task in names}
    return Evaluation(measure, figures, spread, inputs, mean_of(measure, list(figures.values())), tuple(notes), written)
