"""Learning from a plan to a published folder: data and heads first, then learning, then the merge as any other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from mergeometry.adapt.data import UnlabelledData, read_unlabelled
from mergeometry.adapt.encoders import Encoder, build_encoder
from mergeometry.adapt.encoders.build import kind_of
from mergeometry.adapt.estimate import check_memory
from mergeometry.adapt.heads import read_head
from mergeometry.adapt.learned import learned_plan
from mergeometry.adapt.merged import check_parts
from mergeometry.adapt.output_layer import check_output, with_rotated_output
from mergeometry.adapt.result import files, folded_heads, summary
from mergeometry.adapt.setup import Say, identity_of, prepare
from mergeometry.adapt.state_file import StateFile
from mergeometry.adapt.train import Report
from mergeometry.adapt_section import AdaptSection
from mergeometry.evaluate.metrics import Head
from mergeometry.execution.run import Additions, Interrupted, Progress, execute, fingerprint
from mergeometry.execution.threads import one_thread
from mergeometry.plan.tasks import Plan
from mergeometry.sink import LearningPlace, RunRecord


def adapt(
    plan: Plan,
    output: str | Path,
    *,
    workers: int | None = None,
    threads: int = 2,
    device: str = "cpu",
    overwrite: bool = False,
    resume: bool = False,
    say: Say | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Learn what the plan's `adapt:` section asks for, then write the merge with it.

    ``threads`` is how many forward and backward passes run side by side; it does not change the result. ``say`` is
    told what is being prepared, ``report`` of every step of learning, ``progress`` of every tensor written.

    Raises:
        MergeometryError: something is wrong with the recipe, data, heads, inputs or output; nothing was published.
        NumericalError: learning diverged; the last good state is kept for ``resume``.
    """
    section = plan.recipe.adapt
    assert section is not None, "the recipe has no adapt section"
    say = say or _silent
    started = time.perf_counter()
    with LearningPlace(output, overwrite=overwrite, resume=resume, inputs=_inputs(plan)) as place:
        data, encoder, heads = ready(plan, section, torch.device(device), say)
        kept = StateFile(place.folder, identity_of(plan, section, data, fingerprint(plan)))
        with one_thread():
            prepared = prepare(plan, section, encoder, data, heads, workers=threads, say=say)
            earlier = kept.read() if resume else None
            if earlier is not None:
                prepared.learner.take(earlier)
            try:
                state = prepared.learner.learn(report or (lambda _point: None), kept.write)
            except KeyboardInterrupt as error:
                hint = "run the same command with --resume to go on from the last check"
                raise Interrupted("learning was interrupted; nothing was published", hint=hint) from error
        seconds = time.perf_counter() - started
        labels = [model.label for model in plan.models]
        learned, keys = with_rotated_output(learned_plan(plan, prepared.table), encoder, prepared.scene.rotations)
        additions = Additions(
            identity=identity_of(plan, section, data, ""),
            files=files(prepared, state, labels),
            heads=folded_heads(prepared, labels),
            summary=summary(section, prepared, state, data, seconds),
            notes=prepared.notes,
            configuration=keys,
        )
        record = execute(
            learned, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress, additions=additions
        )
        place.done()
    return record


def ready(
    plan: Plan, section: AdaptSection, device: torch.device, say: Say
) -> tuple[list[UnlabelledData], Encoder, list[Head | None]]:
    """Read data and heads and build the encoder: everything that can be wrong before the expensive part.

    Raises:
        MergeometryError: the first thing that does not fit.
    """
    check_parts(plan)
    tasks = {task.name: task for task in section.tasks}
    labels = [model.label for model in plan.models]
    kind = kind_of(section.encoder, plan.base.config)
    check_output(plan.recipe, kind)
    data = []
    for number, label in enumerate(labels):
        say("reading data", number, len(labels))
        data.append(read_unlabelled(tasks[label], "images" if kind == "image" else "texts"))
    check_memory(plan, section, device)
    say("building the encoder", 0, 1)
    encoder = build_encoder(plan.base, section.encoder, device)
    heads = []
    for label in labels:
        source = tasks[label].head
        head = None if source is None else read_head(source, label, encoder.width)
        heads.append(None if head is None else Head(head.weight.to(device), head.bias.to(device)))
    return data, encoder, heads


def _inputs(plan: Plan) -> Sequence[Path]:
    return [plan.base.path, *(model.path for model in plan.models)]


def _silent(_text: str, _done: int, _total: int) -> None:
    pass
