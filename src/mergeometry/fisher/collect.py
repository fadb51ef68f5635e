"""Gives every model its Fisher information: read from its files, or estimated on its unlabelled inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mergeometry.encoders import build_encoder
from mergeometry.encoders.language import LanguageModel
from mergeometry.encoders.pooling import with_pooling
from mergeometry.errors import MismatchError
from mergeometry.fisher.estimates import Estimation, labels_of
from mergeometry.fisher.heads import heads_of
from mergeometry.fisher.values import Measured, measured
from mergeometry.inputs import UnlabelledData
from mergeometry.plan.fishers import merged_by_fisher, ready_made
from mergeometry.plan.tasks import Plan
from mergeometry.recipe.data import DataSection
from mergeometry.sources import TensorInfo


@dataclass(frozen=True, slots=True)
class Fishers:
    """Where each tensor's Fisher information lies, by its name and model by model, and what each model has in all."""

    stored: Mapping[str, tuple[TensorInfo | None, ...]]
    models: Mapping[str, Measured]


def collect_fishers(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData], folder: Path) -> Fishers:
    """The Fisher information of every tensor that the plan merges by it.

    ``data`` are the inputs of the models that have none on disk; what is estimated on them is stored in ``folder``.

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
    if data:
        sources = [task.head for task in section.tasks.values()]
        encoder = build_encoder(plan.base, with_pooling(section.encoder, plan.models, sources), torch.device("cpu"))
        labels = labels_of(section.labels, language_model=isinstance(encoder, LanguageModel))
        heads = heads_of(plan, section, encoder)
        estimation = Estimation(plan, encoder, labels, folder)
        for place, model in enumerate(plan.models):
            if model.label in data:
                estimated, norm = estimation.of(place, data[model.label], heads[model.label])
                files[model.label], models[model.label] = estimated, Measured(norm)
    stored: dict[str, tuple[TensorInfo | None, ...]] = {}
    for task in merged_by_fisher(plan.tasks):
        name = plan.tied.get(task.name, task.name)
        stored[task.name] = tuple(
            files[model.label].get(task.name, files[model.label].get(name)) for model in plan.models
        )
    return Fishers(stored, {model.label: models[model.label] for model in plan.models})
