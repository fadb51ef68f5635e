"""Full fine-tunes: the whole encoder trained, written as a plain model folder that merges like any other."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mergeometry.cache import cache_folder
from mergeometry.encoders.heads import Head
from mergeometry.errors import DataError
from mergeometry_suite.experts import HEAD, Expert
from mergeometry_suite.heads import load_head, save_head
from mergeometry_suite.loop import Course, Epoch, Trained, train_weights
from mergeometry_suite.minilm import build_model
from mergeometry_suite.packages import MINILM
from mergeometry_suite.splits import Splits
from mergeometry_suite.staging import PROVENANCE, read_provenance
from mergeometry_suite.tasks import find_task

MODEL = "model.safetensors"
SIDECARS = ("config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class FullRegime(Course):
    """How a whole encoder is trained.

    The rate is what makes the suite hard: at a third of it task vectors are a quarter as long, nearly
    orthogonal, and their plain sum keeps every expert's accuracy.
    """

    learning_rate: float = 3e-4
    epochs: int = 4
    precision: str = "auto"


def full_folder(seed: int = 0) -> Path:
    """Return the folder in the cache that full fine-tunes of a training seed are trained into, one folder per task.

    The backbone and the regime are part of its name: fine-tunes of different kinds or seeds never mix.
    """
    recipe = hashlib.sha256(repr((MINILM.sha256, FullRegime(seed=seed))).encode()).hexdigest()[:8]
    return cache_folder() / "experts" / f"{MINILM.name}-full-{recipe}"


def load_full_expert(
    task: str, folder: Path | None = None, *, seed: int = 0, command: str = "mergeometry suite train --full"
) -> Expert:
    """Return the full fine-tune of a task: the one in the cache of a training seed, or the one in ``folder``.

    ``command`` is what trains one into that folder.

    Raises:
        DataError: there is no such task, or its fine-tune is not trained yet.
    """
    text_task = find_task(task)
    folder = full_folder(seed) / task if folder is None else folder
    if not is_complete_full(folder):
        raise DataError(
            f"there is no full fine-tune of {task!r}",
            file=folder,
            hint=f"train it: {command} {task}{f' --seed {seed}' if seed else ''}",
        )
    return Expert(text_task, folder, load_head(folder / HEAD), read_provenance(folder))


def is_complete_full(folder: Path) -> bool:
    """Tell whether the folder holds a whole full fine-tune."""
    return all((folder / name).is_file() for name in (MODEL, *SIDECARS, HEAD, PROVENANCE))


def train_full(
    folder: Path, head: Head, splits: Splits, regime: FullRegime, progress: Callable[[Epoch], None] | None = None
) -> Trained:
    """Train every weight that affects the mean-pooled features, including embeddings and norms."""
    return train_weights(build_model(folder).requires_grad_(True), folder, head, splits, regime, progress)


def save_full(model: Any, backbone: Path, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights in ``dtype``, named as in the backbone's file, into an existing folder.

    Weights that the encoder never runs, such as the pooler, are the backbone's.
    """
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    tensors = load_file(backbone / MODEL)
    trained = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    if strangers := sorted(set(trained) - set(tensors)):
        raise DataError("the backbone's file lacks a weight that was trained", tensor=strangers[0])
    saved = {
        name: weight.to(dtype) if weight.is_floating_point() else weight
        for name, weight in {**tensors, **trained}.items()
    }
    save_file(saved, folder / MODEL, metadata={"format": "pt"})
    for name in SIDECARS:
        shutil.copyfile(backbone / name, folder / name)


def save_full_expert(model: Any, backbone: Path, head: Head, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights, and the head that they were trained through."""
    save_full(model, backbone, folder, dtype)
    save_head(head, folder / HEAD)


def load_full(_backbone: Path, folder: Path) -> Any:
    """Build the encoder of a full fine-tune's folder."""
    return build_model(folder)
