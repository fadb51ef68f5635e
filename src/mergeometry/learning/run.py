"""Learning from a plan to a published folder: data and heads first, then learning, then the merge as usual."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mergeometry.encoders import Encoder, build_encoder
from mergeometry.encoders.heads import Head, read_head, width_of
from mergeometry.encoders.pooling import with_pooling
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.execution.directions_folder import DirectionsFolder, refuse_unusable
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.global_scale import with_global_scale
from mergeometry.execution.identity import files_read
from mergeometry.execution.run import Extras, Interrupted, Progress, execute
from mergeometry.execution.telling import Tell, untold
from mergeometry.execution.threads import one_thread
from mergeometry.execution.workers import MemoryLimit, limit_in_bytes, workers_for
from mergeometry.inputs import UnlabelledData, read_unlabelled
from mergeometry.learning.agreement import agreement_notes
from mergeometry.learning.build_learner import Say
from mergeometry.learning.estimate import check_memory
from mergeometry.learning.from_plan import identity_of, prepare
from mergeometry.learning.learned import learned_plan
from mergeometry.learning.making import inputs_file, make_missing
from mergeometry.learning.merged import check_parts
from mergeometry.learning.on_cluster import CONTINUED, INTERRUPTED, learn_on
from mergeometry.learning.output_layer import check_output, with_rotated_output
from mergeometry.learning.processes import Processes, join, launched_many
from mergeometry.learning.result import files, folded_heads, summary
from mergeometry.learning.state import Point, Report, State
from mergeometry.learning.state_file import StateFile
from mergeometry.plan.plan import Plan
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.sink import RunRecord, StateFolder
from mergeometry.sink.target import learning_folder
from mergeometry.synthetic import refuse_unmakeable

_NOT_RESUMED = "learning starts over without --resume"


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
    memory_limit: MemoryLimit = None,
    tell: Tell = untold,
    executor: Executor = LOCAL,
    directions: DirectionsFolder | None = None,
) -> RunRecord:
    """Learn what the plan's `adapt:` section requests, then write the merge.

    On a cluster, one of its workers learns. ``threads`` is the number of parallel forward and backward passes; it does
    not change the result. ``device`` is the device that learning runs on (auto, cpu, cuda, cuda:i); the merge is
    computed on the CPU. ``say`` is called while inputs are prepared, ``report`` at every step of learning,
    ``progress`` for every tensor written, and ``tell`` when what an earlier run left is resumed or discarded.

    With `accelerate: true`, every process of the launcher calls this function. Only the main process writes and calls
    ``say``, ``report`` and ``progress``; all processes return its record.

    Raises:
        MergeometryError: something is wrong with the recipe, data, heads, inputs or output; nothing is published.
        NumericalError: learning diverges; the last good state is kept for ``resume``.
        ExecutionError: another process fails.
    """
    section = plan.recipe.adapt
    assert section is not None, "the recipe has no adapt section"
    refuse_unusable(directions, plan, output)
    workers = workers_for(plan, workers, memory_limit, executor)
    # On a cluster one of its workers learns, unless a launcher started processes here to learn together.
    there = executor.learns and not launched_many()
    with join(section.accelerate, "cpu" if there else device) as processes, ExitStack() as stack:
        place = None
        if processes.main:
            place = stack.enter_context(
                StateFolder(output, learning_folder, overwrite=overwrite, resume=resume, inputs=plan.inputs)
            )
            say, report = say or _silent, report or _silent
            if place.discarded_bytes:
                tell("discarded", {"tensors": 0, "bytes": place.discarded_bytes, "reason": _NOT_RESUMED})
        else:
            say, report = _silent, _silent
        with (
            nullcontext(executor)
            if place is None
            else executor.sharing(place.folder / "token", files_read(plan)) as checked
        ):
            # Nodes that see other files are refused before anything is learned.
            if there and place is not None:
                result, extras = learn_on(checked, plan, place.folder, threads, device, say, report)
            else:
                folder = None if place is None else place.folder
                result, extras = learned(plan, folder, processes, threads, resume, say, report, memory_limit)

        def write() -> str:
            assert place is not None
            record = execute(
                result, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress,
                extras=extras, memory_limit=memory_limit, tell=tell, executor=executor,
                directions=directions,
            )  # fmt: skip
            place.done()
            return json.dumps(record.to_json())

        return RunRecord.from_json(json.loads(processes.from_main(write)))


def learned(
    plan: Plan,
    folder: Path | None,
    processes: Processes,
    threads: int | None,
    resume: bool,
    say: Say,
    report: Report,
    memory_limit: MemoryLimit,
) -> tuple[Plan, Extras]:
    """The plan with the learned methods, and what is written with it; the state is kept in the ``folder``.

    Once this returns, the memory that learning took is free again.

    Raises:
        MergeometryError: data, heads or models do not fit, or learning diverges.
    """
    started, section = time.perf_counter(), plan.recipe.adapt
    assert section is not None, "the recipe has no adapt section"
    plan = with_global_scale(plan, threads or 1)
    data, encoder, heads = load_inputs(plan, section, processes.device, say, memory_limit)
    processes.refuse_unlike(json.dumps([section.model_dump(mode="json"), [inputs.digest for inputs in data]]))
    state_file = None if folder is None else StateFile(folder, identity_of(plan, section, data, heads))
    with one_thread():
        prepared = prepare(
            plan, section, encoder, data, heads, workers=threads or processes.threads, say=say, processes=processes
        )
        notes = prepared.notes
        earlier = _earlier(state_file if resume else None, processes)
        if earlier is not None:
            prepared.learner.take(earlier)
        elif state_file is not None and state_file.path.exists():
            notes += (
                "the saved state of learning is damaged, or from other inputs or settings: learning started over",
            )
        try:
            state = prepared.learner.learn(report, _silent if state_file is None else state_file.write)
        except KeyboardInterrupt as error:
            raise Interrupted(INTERRUPTED, hint=CONTINUED) from error
    seconds = time.perf_counter() - started
    notes += tuple(
        agreement_notes(
            state, chosen=section.coefficients == "auto", numbers=prepared.table.count,
            inputs=sum(len(inputs.items) for inputs in data), gain=prepared.learner.held_out.gain,
        )
    )  # fmt: skip
    labels = [model.label for model in plan.models]
    merged, keys = with_rotated_output(
        learned_plan(plan, prepared.table, encoder.doubles), encoder, prepared.scene.rotations
    )
    contents = files(prepared, state, labels) | inputs_file(labels, data)
    return merged, Extras(
        identity=hashlib.sha256(b"".join(contents.values())).hexdigest(),
        files=contents,
        heads=folded_heads(prepared, labels),
        summary=summary(section, prepared, state, data, seconds),
        notes=notes,
        configuration=keys,
    )


def _earlier(state_file: StateFile | None, processes: Processes) -> State | None:
    """The state that the main process saved, for all processes."""

    def read() -> dict[str, Any] | None:
        state = None if state_file is None else state_file.read()
        return None if state is None else asdict(state)

    plain = processes.from_main(read)
    return None if plain is None else State(**{**plain, "points": [Point(**point) for point in plain["points"]]})


def load_inputs(
    plan: Plan, section: AdaptSection, device: torch.device, say: Say, memory_limit: MemoryLimit = None
) -> tuple[list[UnlabelledData], Encoder, list[Head | None]]:
    """Read data and heads and build the encoder: everything that can fail before the expensive part.

    Raises:
        MergeometryError: an input does not fit; the first such input is reported.
    """
    check_parts(plan)
    tasks = {task.name: task for task in section.tasks}
    labels = [model.label for model in plan.models]
    kind = runnable_kind(plan.base, section.encoder)
    check_output(plan.recipe, kind)
    read = dict[str, UnlabelledData]()
    for number, label in enumerate(labels):
        if tasks[label].made:
            refuse_unmakeable(kind, label, head=tasks[label].head is not None)
            continue
        say("reading data", number, len(labels))
        read[label] = read_unlabelled(tasks[label], "images" if kind == "image" else "texts")
    for label in labels:
        if (source := tasks[label].head) is not None:
            read_head(source, label, width_of(plan.base.config))  # before the encoder is built, which takes long
    check_memory(plan, section, device, limit_in_bytes(memory_limit))
    say("building the encoder", 0, 1)
    options = with_pooling(section.encoder, plan.models, [task.head for task in section.tasks])
    encoder = build_encoder(plan.base, options, device)
    heads = []
    for label in labels:
        source = tasks[label].head
        head = None if source is None else read_head(source, label, encoder.width)
        heads.append(None if head is None else Head(head.weight.to(device), head.bias.to(device)))
    made = make_missing(plan, section, encoder, dict(zip(labels, heads, strict=True)), say)
    return [made[label] if label in made else read[label] for label in labels], encoder, heads


def _silent(*_: object) -> None:
    pass
