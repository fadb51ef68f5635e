"""What ``mergeometry suite`` calls: list the tasks, load an expert, train one anew."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mergeometry.errors import DataError
from mergeometry.evaluate.encoder import Encoder, Tokenizer
from mergeometry.evaluate.metrics import Head, accuracy
from mergeometry.suite.backbone import NAME, PIECES, backbone
from mergeometry.suite.experts import load_adapter, load_expert
from mergeometry.suite.forms import ADAPTER, FULL, Form
from mergeometry.suite.full import full_folder, load_full_expert
from mergeometry.suite.heads import fit_head
from mergeometry.suite.loop import Course, Trained, encode_with
from mergeometry.suite.packages import MINILM
from mergeometry.suite.splits import Splits
from mergeometry.suite.staging import refuse_foreign, staged, write_provenance
from mergeometry.suite.tasks import SUITES, TASKS, TEXT_8, TEXT_14, Task, find_task, load

__all__ = [
    "ADAPTER", "FULL", "SUITES", "TASKS", "TEXT_8", "TEXT_14", "full_folder", "list_tasks", "load_expert",
    "load_full_expert", "train_expert",
]  # fmt: skip


def list_tasks(suite: str = "text-8") -> tuple[Task, ...]:
    """Return the tasks of a suite, in the order in which they are always shown.

    Raises:
        DataError: there is no such suite.
    """
    if suite not in SUITES:
        raise DataError(f"There is no text suite {suite!r}.", hint="the suites are " + ", ".join(SUITES))
    return tuple(TASKS[name] for name in SUITES[suite])


def train_expert(
    task: str,
    output: Path,
    progress: Callable[[str], None] | None = None,
    *,
    form: Form = ADAPTER,
    regime: Course | None = None,
    overwrite: bool = False,
) -> Path:
    """Fit the head, train an expert of the form, and write it into ``output``, which appears whole or not at all.

    An expert that stands there already is left alone unless ``overwrite``, so that an interrupted run over
    many tasks goes on where it was.

    Raises:
        DataError: there is no such task, or its texts or the backbone cannot be had.
        OutputError: something else stands in ``output``.
    """
    say = progress or (lambda _message: None)
    found = find_task(task)
    course: Course = regime or form.regime
    if form.is_complete(output) and not overwrite:
        say(f"{task}: already trained")
        return output
    refuse_foreign(output, form.is_complete)
    folder, splits = backbone(progress), load(found)
    head, base = _fit(folder, found, splits)
    say(f"{task}: base with fitted head: validation {base['validation']:.3f}")
    trained = form.train(
        folder,
        head,
        splits,
        course,
        lambda epoch: say(
            f"{task}: epoch {epoch.number}/{course.epochs}: loss {epoch.loss:.4f}, validation {epoch.validation:.3f}"
        ),
    )
    with staged(output) as place:
        form.save(trained.model, folder, head, place)
        scores = {"base": base, "expert": _score(form.load(folder, place), folder, head, splits)}
        write_provenance(place, _provenance(found, splits, form, course, trained, scores))
    return output


def score_expert(folder: Path, expert: Path, head: Head, splits: Splits) -> dict[str, float]:
    """Return the accuracies of an adapter as it stands on disk."""
    return _score(load_adapter(folder, expert), folder, head, splits)


def _score(model: Any, folder: Path, head: Head, splits: Splits) -> dict[str, float]:
    tokenizer = Tokenizer(folder, PIECES)
    return {
        name: round(accuracy(head, encode_with(model, tokenizer.prepare(split.texts)), split.labels), 4)
        for name, split in (("validation", splits.validation), ("test", splits.test))
    }


def _fit(folder: Path, task: Task, splits: Splits) -> tuple[Head, dict[str, float]]:
    encoder, tokenizer = Encoder(folder), Tokenizer(folder, PIECES)
    train, validation, test = (
        encoder.encode(tokenizer.prepare(split.texts)) for split in (splits.train, splits.validation, splits.test)
    )
    head = fit_head(train, splits.train.labels, validation, splits.validation.labels, len(task.classes))
    scores = {
        "validation": round(accuracy(head, validation, splits.validation.labels), 4),
        "test": round(accuracy(head, test, splits.test.labels), 4),
    }
    return head, scores


def _provenance(
    task: Task, splits: Splits, form: Form, course: Course, trained: Trained, scores: dict[str, dict[str, float]]
) -> dict[str, Any]:
    return {
        "task": task.name,
        "title": task.title,
        "command": f"{form.command} {task.name}",
        "backbone": {"name": NAME, "package": MINILM.requirement, "sha256": MINILM.sha256, "licence": MINILM.licence},
        "data": {
            "package": task.source,
            "sha256": task.package.sha256,
            "licence": task.licence,
            "texts": {name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
            "word_pieces": PIECES,
            "classes": list(task.classes),
        },
        "head": "logistic regression on the base's features of the training texts; then frozen",
        "regime": asdict(course),
        "products": trained.products,
        "epochs": [asdict(epoch) for epoch in trained.epochs],
        "kept_epoch": trained.best.number,
        "steps": trained.epochs[-1].steps,
        "accuracy": scores,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mergeometry", "torch", "transformers", "peft")},
        },
    }
