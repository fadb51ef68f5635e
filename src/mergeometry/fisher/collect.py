"""Gives every model its Fisher information: read from its files, or estimated on its unlabelled inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mergeometry.encoders import build_encoder
from mergeometry.encoders.language import LanguageModel
from mergeometry.encoders.pooling import with_pooling
from mergeometry.errors import MismatchError
from mergeometry.execution.executor import LOCAL, Demands, Executor
from mergeometry.execution.pool import all_of
from mergeometry.fisher.estimates import Estimation, labels_of
from mergeometry.fisher.heads import heads_of
from mergeometry.fisher.values import Measured, measured
from mergeometry.inputs import UnlabelledData
from mergeometry.plan.fishers import merged_by_fisher, ready_made
from mergeometry.plan.plan import Plan
from mergeometry.recipe.data import DataSection
from mergeometry.sink.files import FileSystem
from mergeometry.sources import TensorInfo


@dataclass(frozen=True, slots=True)
class Fishers:
    """Where each tensor's Fisher information lies, by its name and model by model, and what each model has in all."""

    stored: Mapping[str, tuple[TensorInfo | None, ...]]
    models: Mapping[str, Measured]


def collect_fishers(
    plan: Plan,
    section: DataSection,
    data: Mapping[str, UnlabelledData],
    folder: Path,
    executor: Executor = LOCAL,
    memory: int = 0,
) -> Fishers:
    """The Fisher information of every tensor that the plan merges by it.

    ``data`` are the inputs of the models that have none on disk; what is estimated on them is stored in ``folder``. On
    a cluster each model is run by a worker of its own, which takes so much ``memory``.

    Raises:
        MismatchError: values on disk are no Fisher information; it lists every reason.
        DataError: a model cannot be run, or its head is not known.
        NumericalError: an estimate is not finite, or zero everywhere.
        SourceError: a file cannot be read.
        OSError: the folder cannot be written to.
    """
    files, problems = ready_made(plan)
    models: dict[str, Measured] = {}
    for label, infos in files.items():
        models[label], wrong = measured(label, infos)
        problems += wrong
    if problems:
        raise MismatchError("the Fisher information is not usable", problems, hint="nothing was merged or written")
    jobs = [
        FisherJob(plan, section, folder, place, data[model.label])
        for place, model in enumerate(plan.models)
        if model.label in data
    ]
    for job, (estimated, norm) in zip(jobs, _estimated(jobs, executor, memory), strict=True):
        files[job.label], models[job.label] = estimated, Measured(norm)
    stored: dict[str, tuple[TensorInfo | None, ...]] = {}
    for task in merged_by_fisher(plan.tasks):
        name = plan.tied.get(task.name, task.name)
        stored[task.name] = tuple(
            files[model.label].get(task.name, files[model.label].get(name)) for model in plan.models
        )
    return Fishers(stored, {model.label: models[model.label] for model in plan.models})


@dataclass(frozen=True, slots=True)
class FisherJob:
    """One model and its inputs, as a worker receives them."""

    plan: Plan
    section: DataSection
    folder: Path
    place: int
    data: UnlabelledData

    @property
    def label(self) -> str:
        """The model's name."""
        return self.plan.models[self.place].label


def _estimated(
    jobs: Sequence[FisherJob], executor: Executor, memory: int
) -> Iterable[tuple[dict[str, TensorInfo], float]]:
    """Each model's information and its norm: one after the other with one encoder here, side by side on a cluster."""
    workers = executor.workers(None, memory)
    if workers is None or not jobs:
        estimate = _estimator(jobs[0]) if jobs else None
        return [estimate(job) for job in jobs] if estimate else []
    demands = Demands[FisherJob](name=lambda job: job.label, memory=lambda _: memory)
    return all_of(estimate_there, jobs, workers, executor, demands)


def estimate_there(job: FisherJob) -> tuple[dict[str, TensorInfo], float]:
    """Estimate one model's information in a worker, and bring it to the shared storage."""
    infos, norm = _estimator(job)(job)
    for file in {info.file for info in infos.values()}:
        FileSystem().sync_file(file)
    return infos, norm


def _estimator(first: FisherJob) -> Callable[[FisherJob], tuple[dict[str, TensorInfo], float]]:
    """What estimates any model's information like the first's, by one encoder."""
    plan, section = first.plan, first.section
    sources = [task.head for task in section.tasks.values()]
    encoder = build_encoder(plan.base, with_pooling(section.encoder, plan.models, sources), torch.device("cpu"))
    labels = labels_of(section.labels, language_model=isinstance(encoder, LanguageModel))
    heads, estimation = heads_of(plan, section, encoder), Estimation(plan, encoder, labels, first.folder)
    return lambda job: estimation.of(job.place, job.data, heads[job.label])
