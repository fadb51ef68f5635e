"""Learning from a plan to a published folder: data and heads first, then learning, then the merge as any other."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mergeometry.encoders import Encoder, build_encoder
from mergeometry.encoders.build import kind_of
from mergeometry.encoders.heads import Head, read_head
from mergeometry.execution.run import Extras, Interrupted, Progress, execute
from mergeometry.execution.threads import one_thread
from mergeometry.inputs import UnlabelledData, read_unlabelled
from mergeometry.learning.build_learner import Say
from mergeometry.learning.estimate import check_memory
from mergeometry.learning.from_plan import identity_of, prepare
from mergeometry.learning.learned import learned_plan
from mergeometry.learning.merged import check_parts
from mergeometry.learning.output_layer import check_output, with_rotated_output
from mergeometry.learning.processes import Processes, join
from mergeometry.learning.result import files, folded_heads, summary
from mergeometry.learning.state_file import StateFile
from mergeometry.learning.train import Point, Report, State
from mergeometry.plan.tasks import Plan
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.sink import LearningPlace, RunRecord


def adapt(
    plan: Plan,
    output: str | Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    say: Say | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Learn what the plan's `adapt:` section asks for, then write the merge with it.

    ``threads`` is how many forward and backward passes run side by side; it does not change the result. ``device`` is
    where learning computes (auto, cpu, cuda, cuda:i); the merge is written on the CPU. ``say`` is told what is being
    prepared, ``report`` of every step of learning, ``progress`` of every tensor written.

    Among the processes of a launcher (`accelerate: true`) each calls this; the main one writes and is the only one to
    call ``say``, ``report`` and ``progress``, and all return its record.

    Raises:
        MergeometryError: something is wrong with the recipe, data, heads, inputs or output; nothing was published.
        NumericalError: learning diverged; the last good state is kept for ``resume``.
        ExecutionError: another process failed.
    """
    section = plan.recipe.adapt
    assert section is not None, "the recipe has no adapt section"
    with join(section.accelerate, device) as processes, ExitStack() as stack:
        place = None
        if processes.main:
            place = stack.enter_context(LearningPlace(output, overwrite=overwrite, resume=resume, inputs=_inputs(plan)))
            say, report = say or _silent, report or _silent
        else:
            say, report = _silent, _silent
        learned, extras = _learned(plan, section, place, processes, threads, resume, say, report)

        def write() -> str:
            assert place is not None
            record = execute(
                learned, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress,
                extras=extras,
            )  # fmt: skip
            place.done()
            return json.dumps(record.to_json())

        return RunRecord.from_json(json.loads(processes.from_main(write)))


def _learned(
    plan: Plan,
    section: AdaptSection,
    place: LearningPlace | None,
    processes: Processes,
    threads: int | None,
    resume: bool,
    say: Say,
    report: Report,
) -> tuple[Plan, Extras]:
    """The plan with what was learned in it: whatever learning held in memory is free again once this returns."""
    started = time.perf_counter()
    data, encoder, heads = load_inputs(plan, section, processes.device, say)
    processes.refuse_unlike(json.dumps([section.model_dump(mode="json"), [own.digest for own in data]]))
    kept = None if place is None else StateFile(place.folder, identity_of(plan, section, data, heads))
    with one_thread():
        prepared = prepare(
            plan, section, encoder, data, heads, workers=threads or processes.threads, say=say, processes=processes
        )
        notes = prepared.notes
        earlier = _earlier(kept if resume else None, processes)
        if earlier is not None:
            prepared.learner.take(earlier)
        elif kept is not None and kept.path.exists():
            notes += ("what was kept of learning is of other inputs or settings, or damaged: it started anew",)
        try:
            state = prepared.learner.learn(report, _silent if kept is None else kept.write)
        except KeyboardInterrupt as error:
            hint = "run the same command with --resume to go on from the last check"
            raise Interrupted("learning was interrupted; nothing was published", hint=hint) from error
    seconds = time.perf_counter() - started
    labels = [model.label for model in plan.models]
    learned, keys = with_rotated_output(
        learned_plan(plan, prepared.table, encoder.doubles), encoder, prepared.scene.rotations
    )
    beside = files(prepared, state, labels)
    return learned, Extras(
        identity=hashlib.sha256(b"".join(beside.values())).hexdigest(),
        files=beside,
        heads=folded_heads(prepared, labels),
        summary=summary(section, prepared, state, data, seconds),
        notes=notes,
        configuration=keys,
    )


def _earlier(kept: StateFile | None, processes: Processes) -> State | None:
    """The state that the main process kept, for all."""

    def read() -> dict[str, Any] | None:
        state = None if kept is None else kept.read()
        return None if state is None else asdict(state)

    plain = processes.from_main(read)
    return None if plain is None else State(**{**plain, "points": [Point(**point) for point in plain["points"]]})


def load_inputs(
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


def _silent(*_: object) -> None:
    pass
