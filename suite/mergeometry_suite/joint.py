"""One encoder trained on all tasks of a suite together: the result that a merge tries to reach without the data."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeometry.cache import cache_folder
from mergeometry.encoders.heads import Head, accuracy
from mergeometry.errors import DataError
from mergeometry_suite.backbone import PIECES, backbone
from mergeometry_suite.command import list_tasks, load_expert, score_texts
from mergeometry_suite.full import MODEL, SIDECARS, FullRegime, load_full, save_full
from mergeometry_suite.loop import Epoch, Trained, batches_of, encode_with, products, train_to_best
from mergeometry_suite.minilm import Tokenizer, build_model, mean_pool
from mergeometry_suite.packages import MINILM
from mergeometry_suite.splits import Splits
from mergeometry_suite.staging import PROVENANCE, refuse_foreign, staged, write_provenance
from mergeometry_suite.tasks import load


def joint_folder(suite: str) -> Path:
    """Return the folder in the cache that a suite's joint model is trained into."""
    recipe = hashlib.sha256(repr((MINILM.sha256, FullRegime())).encode()).hexdigest()[:8]
    return cache_folder() / "experts" / f"{MINILM.name}-joint-{recipe}" / suite


def is_complete_joint(folder: Path) -> bool:
    """Tell whether the folder holds a whole joint model."""
    return all((folder / name).is_file() for name in (MODEL, *SIDECARS, PROVENANCE))


def load_joint(suite: str) -> Path:
    """Return the folder of a suite's joint model.

    Raises:
        DataError: the model is not trained yet.
    """
    list_tasks(suite)
    if not is_complete_joint(folder := joint_folder(suite)):
        raise DataError(
            f"there is no joint model of {suite!r}", file=folder,
            hint=f"train it: mergeometry suite train-joint --suite {suite}",
        )  # fmt: skip
    return folder


def train_joint(
    suite: str,
    output: Path,
    progress: Callable[[str], None] | None = None,
    *,
    regime: FullRegime | None = None,
    overwrite: bool = False,
) -> Path:
    """Train the whole encoder on a suite's tasks together, through the frozen heads that its experts have.

    Every step is a batch of one task, the tasks in random order; each task's training texts are seen as often as its
    expert saw them. ``output`` appears whole or not at all, and is left alone where it is complete.

    Raises:
        DataError: there is no such suite, or its texts or the backbone cannot be fetched.
        OutputError: ``output`` holds something else.
    """
    say = progress or (lambda _message: None)
    tasks, course = list_tasks(suite), regime or FullRegime()
    if is_complete_joint(output) and not overwrite:
        say(f"{suite}: already trained")
        return output
    refuse_foreign(output, is_complete_joint)
    folder = backbone(progress)
    heads = [load_expert(task.name).head for task in tasks]
    splits = [load(task) for task in tasks]
    trained = _trained(
        folder, heads, splits, course,
        lambda epoch: say(
            f"{suite}: epoch {epoch.number}/{course.epochs}: loss {epoch.loss:.4f}, validation {epoch.validation:.3f}"
        ),
    )  # fmt: skip
    with staged(output) as place:
        save_full(trained.model, folder, place)
        model = load_full(folder, place)
        record = {
            "suite": suite,
            "tasks": [task.name for task in tasks],
            "command": f"mergeometry suite train-joint --suite {suite}",
            "backbone": {"name": MINILM.name, "package": MINILM.requirement, "sha256": MINILM.sha256},
            "data": {task.name: {"package": task.source, "licence": task.licence} for task in tasks},
            "regime": asdict(course),
            "products": trained.products,
            "epochs": [asdict(epoch) for epoch in trained.epochs],
            "kept_epoch": trained.best.number,
            "steps": trained.epochs[-1].steps,
            "accuracy": {
                task.name: score_texts(model, place, head, own)
                for task, head, own in zip(tasks, heads, splits, strict=True)
            },
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("mergeometry", "torch", "transformers")},
            },
        }
        write_provenance(place, record)
    return output


def _trained(
    folder: Path,
    heads: Sequence[Head],
    splits: Sequence[Splits],
    course: FullRegime,
    progress: Callable[[Epoch], None],
) -> Trained:
    tokenizer = Tokenizer(folder, PIECES)
    pieces = [tokenizer.pieces(own.train.texts) for own in splits]
    labels = [torch.tensor(own.train.labels) for own in splits]
    checked = [tokenizer.prepare(own.validation.texts) for own in splits]
    model: Any = build_model(folder).requires_grad_(True)

    def losses(shuffle: torch.Generator) -> Iterator[Tensor]:
        steps = [
            (task, rows)
            for task, texts in enumerate(pieces)
            for rows in batches_of([len(text) for text in texts], course.batch, shuffle)
        ]
        for place in torch.randperm(len(steps), generator=shuffle).tolist():
            task, rows = steps[place]
            batch = tokenizer.batch(pieces[task], rows)
            with products(course):
                features = mean_pool(model, batch)
            logits = heads[task].logits(features.float())
            yield torch.nn.functional.cross_entropy(logits, labels[task][batch.rows])

    def score() -> float:
        accuracies = [
            accuracy(head, encode_with(model, texts), of_task.validation.labels)
            for head, texts, of_task in zip(heads, checked, splits, strict=True)
        ]
        return sum(accuracies) / len(accuracies)

    batches = sum(math.ceil(len(own.train) / course.batch) for own in splits)
    return train_to_best(model, batches, losses, score, course, progress)
