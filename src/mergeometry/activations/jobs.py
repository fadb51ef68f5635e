"""Runs models on their inputs as jobs of a cluster: one per model, or one for all that follow the merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mergeometry.activations.collect import MOMENTS_BYTES, Moments, Passed, joined, refuse_none, run_model
from mergeometry.activations.in_order import collect_in_order, follows_merge
from mergeometry.encoders import build_encoder
from mergeometry.encoders.sites import sites_of
from mergeometry.execution.executor import Demands, Executor
from mergeometry.execution.pool import all_of
from mergeometry.inputs import UnlabelledData
from mergeometry.plan.plan import Plan
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sink.files import FileSystem


@dataclass(frozen=True, slots=True)
class ModelJob:
    """One model and its inputs, or all in the order of the layers, as a worker receives them."""

    plan: Plan
    options: EncoderOptions
    folder: Path
    """Where moments are stored: on storage that every worker sees."""
    data: tuple[UnlabelledData, ...]
    """Its inputs; or those of all models, in their order."""
    place: int = 0
    """The model that is run, where each is run by itself."""

    @property
    def name(self) -> str:
        """How an error names the job."""
        return self.plan.models[self.place].label


def collect_by_jobs(
    plan: Plan,
    options: EncoderOptions,
    data: Sequence[UnlabelledData],
    folder: Path,
    executor: Executor,
    workers: int,
    memory: int,
) -> Moments:
    """The moments that `collect`, or `collect_in_order`, gives, from jobs that take so much memory each.

    Raises:
        DataError: the model runs none of the layers, or the data do not fit it.
        NumericalError: a model's activations are not finite.
        ExecutionError: a worker dies over and over.
    """
    demands = Demands[ModelJob](name=lambda job: job.name, memory=lambda _: memory)
    if follows_merge(plan):
        (moments,) = all_of(run_in_order, [ModelJob(plan, options, folder, tuple(data))], 1, executor, demands)
        return moments
    jobs = [ModelJob(plan, options, folder, (one,), place) for place, one in enumerate(data)]
    moments = joined(
        [model.label for model in plan.models], all_of(run_alone, jobs, workers, executor, demands), folder
    )
    refuse_none(moments)
    return moments


def run_alone(job: ModelJob) -> Passed:
    """Run one model on its inputs, in a worker."""
    encoder = build_encoder(job.plan.base, job.options, torch.device("cpu"))
    (data,), sites = job.data, sites_of(job.plan, encoder)
    passed = run_model(job.plan, encoder, job.place, data, job.folder, MOMENTS_BYTES, sites, {})
    synced(info.file for info in passed.infos if info is not None)
    return passed


def run_in_order(job: ModelJob) -> Moments:
    """Run all models layer by layer, each layer behind those that are merged, in a worker."""
    encoder = build_encoder(job.plan.base, job.options, torch.device("cpu"))
    for left in job.folder.iterdir():  # by a worker that was lost
        if left.is_dir():
            FileSystem().remove_tree(left)
    moments = collect_in_order(job.plan, encoder, job.data, job.folder)
    synced(info.file for stored in moments.stored.values() for info in stored.infos)
    return moments


def synced(files: Iterable[Path]) -> None:
    """Bring files to the shared storage: a node that is lost later takes nothing along."""
    for file in set(files):
        FileSystem().sync_file(file)
