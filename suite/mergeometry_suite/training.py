"""Train one expert through a frozen head and write it with its record, for any task and any form."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from mergeometry.encoders.heads import Head
from mergeometry_suite.forms import Form
from mergeometry_suite.loop import Course
from mergeometry_suite.staging import refuse_foreign, staged, write_provenance

Scores = dict[str, float]
"""Accuracy on the validation inputs and on the test inputs."""


class Named(Protocol):
    """A task, as far as its expert's record names it."""

    @property
    def name(self) -> str:
        """What the task is called."""
        ...

    @property
    def title(self) -> str:
        """What is asked."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What training starts from: the backbone's folder, the fitted head, the inputs, and the backbone's own scores."""

    backbone: Path
    head: Head
    splits: Any
    scores: Scores


def train_into(
    output: Path,
    task: Named,
    form: Form,
    start: Callable[[], Start],
    score: Callable[[Any, Start], Scores],
    origin: Callable[[Start], Mapping[str, Any]],
    *,
    packages: Sequence[str],
    course: Course | None,
    overwrite: bool,
    progress: Callable[[str], None] | None,
) -> Path:
    """Train an expert of the form and write it into ``output``, which appears whole or not at all.

    An expert that is already there is left alone unless ``overwrite``, so that an interrupted run over many tasks
    resumes where it stopped. ``start`` is called only where there is something to train; ``origin`` describes the
    sources of backbone, data and head; the record keeps the versions of ``packages``.

    Raises:
        OutputError: ``output`` holds something else.
    """
    say = progress or (lambda _message: None)
    chosen: Course = course or form.regime
    if form.is_complete(output) and not overwrite:
        say(f"{task.name}: already trained")
        return output
    refuse_foreign(output, form.is_complete)
    begun = start()
    say(f"{task.name}: base with fitted head: validation {begun.scores['validation']:.3f}")
    trained = form.train(
        begun.backbone,
        begun.head,
        begun.splits,
        chosen,
        lambda epoch: say(
            f"{task.name}: epoch {epoch.number}/{chosen.epochs}: loss {epoch.loss:.4f}, "
            f"validation {epoch.validation:.3f}"
        ),
    )
    with staged(output) as place:
        form.save(trained.model, begun.backbone, begun.head, place)
        record = {
            "task": task.name,
            "title": task.title,
            "command": f"{form.command} {task.name}{f' --seed {chosen.seed}' if chosen.seed else ''}",
            **origin(begun),
            "regime": asdict(chosen),
            "products": trained.products,
            "epochs": [asdict(epoch) for epoch in trained.epochs],
            "kept_epoch": trained.best.number,
            "steps": trained.epochs[-1].steps,
            "accuracy": {"base": begun.scores, "expert": score(form.load(begun.backbone, place), begun)},
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        }
        write_provenance(place, record)
    return output
