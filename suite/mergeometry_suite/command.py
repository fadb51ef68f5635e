"""The functions behind ``mergeometry suite``: list the tasks, load an expert, retrain one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergeometry.encoders.heads import Head, accuracy
from mergeometry.errors import DataError
from mergeometry_suite.backbone import NAME, PIECES, backbone
from mergeometry_suite.experts import load_expert
from mergeometry_suite.forms import ADAPTER, FULL, Form
from mergeometry_suite.full import full_folder, load_full_expert
from mergeometry_suite.heads import fit_head
from mergeometry_suite.loop import Course, encode_with
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.packages import MINILM
from mergeometry_suite.splits import Splits
from mergeometry_suite.tasks import SUITES, TASKS, TEXT_8, TEXT_14, TEXT_20, Task, find_task, load
from mergeometry_suite.train import adapter_folder
from mergeometry_suite.training import Scores, Start, train_into

__all__ = [
    "ADAPTER", "FULL", "SUITES", "TASKS", "TEXT_8", "TEXT_14", "TEXT_20", "adapter_folder", "full_folder", "list_tasks",
    "load_expert", "load_full_expert", "train_expert",
]  # fmt: skip


def list_tasks(suite: str = "text-8") -> tuple[Task, ...]:
    """Return the tasks of a suite, in the order in which they are always shown.

    Raises:
        DataError: there is no such suite.
    """
    if suite not in SUITES:
        raise DataError(f"there is no text suite {suite!r}", hint="the suites are " + ", ".join(SUITES))
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

    An expert that is already there is left alone unless ``overwrite``, so that an interrupted run over many tasks
    resumes where it stopped.

    Raises:
        DataError: there is no such task, or its texts or the backbone cannot be fetched.
        OutputError: ``output`` holds something else.
    """
    text_task = find_task(task)
    return train_into(
        output, text_task, form,
        lambda: _start(text_task, backbone(progress)),
        lambda model, start: score_texts(model, start.backbone, start.head, start.splits),
        lambda start: _origin(text_task, start.splits),
        packages=("mergeometry", "torch", "transformers", "peft"),
        course=regime, overwrite=overwrite, progress=progress,
    )  # fmt: skip


def score_texts(model: Any, folder: Path, head: Head, splits: Splits) -> Scores:
    """Return the accuracies of a model on the held-out texts of a task."""
    tokenizer = Tokenizer(folder, PIECES)
    return {
        name: round(accuracy(head, encode_with(model, tokenizer.prepare(split.texts)), split.labels), 4)
        for name, split in (("validation", splits.validation), ("test", splits.test))
    }


def _start(task: Task, folder: Path) -> Start:
    splits, encoder, tokenizer = load(task), Encoder(folder), Tokenizer(folder, PIECES)
    train, validation, test = (
        encoder.encode(tokenizer.prepare(split.texts)) for split in (splits.train, splits.validation, splits.test)
    )
    head = fit_head(train, splits.train.labels, len(task.classes))
    scores = {
        "validation": round(accuracy(head, validation, splits.validation.labels), 4),
        "test": round(accuracy(head, test, splits.test.labels), 4),
    }
    return Start(folder, head, splits, scores)


def _origin(task: Task, splits: Splits) -> dict[str, Any]:
    return {
        "backbone": {"name": NAME, "package": MINILM.requirement, "sha256": MINILM.sha256, "licence": MINILM.licence},
        "data": {
            "package": task.source,
            "sha256": task.package.sha256,
            "licence": task.licence,
            "texts": {name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
            "word_pieces": PIECES,
            "classes": list(task.classes),
        },
        "head": "logistic regression on the base's features of the training texts, penalty included; then frozen",
    }
