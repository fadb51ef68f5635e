"""Train the vision encoder against a frozen head: an adapter on it, or all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mergeometry.encoders.heads import Head, accuracy
from mergeometry.execution.threads import one_thread
from mergeometry.learning.precision import dtype_of
from mergeometry_suite.adapters import fresh_adapter, pack_frozen
from mergeometry_suite.loop import Course, Epoch, Trained, products, train_to_best
from mergeometry_suite.vision.backbone import NAME, build_vision_model, features_of, prepare_pixels
from mergeometry_suite.vision.images import ImageSplits

_BATCH = 32  # images that are encoded together; with their activations, what fits the caches of one core


@dataclass(frozen=True, kw_only=True)
class VisionRegime(Course):
    """How an adapter is trained: to convergence, and far enough that merging is a problem."""

    learning_rate: float = 1e-3
    epochs: int = 6
    precision: str = "auto"
    rank: int = 16
    alpha: int = 32


@dataclass(frozen=True, kw_only=True)
class FullVisionRegime(Course):
    """How the whole encoder is trained."""

    learning_rate: float = 1e-4
    epochs: int = 6
    precision: str = "auto"


def train_vision_adapter(
    folder: Path,
    head: Head,
    splits: ImageSplits,
    regime: VisionRegime,
    progress: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train a fresh adapter on all linear layers of the encoder."""
    torch.manual_seed(regime.seed)  # the adapter's first matrices
    return _train(build_vision_adapter(folder, regime), head, splits, regime, progress)


def train_full_vision(
    folder: Path,
    head: Head,
    splits: ImageSplits,
    regime: FullVisionRegime,
    progress: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train every weight of the encoder, including embeddings and norms."""
    return _train(build_vision_model(folder).requires_grad_(True), head, splits, regime, progress)


def build_vision_adapter(folder: Path, regime: VisionRegime) -> Any:
    """Build the encoder with a fresh adapter on all its linear layers; everything else is frozen."""
    model = build_vision_model(folder)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    adapted = fresh_adapter(model, linears, rank=regime.rank, alpha=regime.alpha, kind="FEATURE_EXTRACTION", base=NAME)
    _lighten(adapted, regime)
    return adapted


def _lighten(adapted: Any, course: Course) -> None:
    """Keep the frozen layers in the dtype of their products, so that they are not converted at every step."""
    dtype = dtype_of(course.precision, torch.device("cpu"))
    if dtype == torch.float32:
        pack_frozen(adapted)
        return
    for module in adapted.modules():
        if hasattr(module, "base_layer") and hasattr(module, "lora_A"):
            module.base_layer.to(dtype)


def encode_images(model: Any, images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n d"]:
    """Return the features of a model as it stands, in the precision that is in force."""
    with one_thread(), torch.inference_mode():
        return torch.cat([features_of(model, prepare_pixels(part)) for part in images.split(_BATCH)])


def _train(
    model: Any,
    head: Head,
    splits: ImageSplits,
    course: Course,
    progress: Callable[[Epoch], None] | None,
) -> Trained:
    train, validation = splits.train, splits.validation
    labels = torch.tensor(train.labels)

    def losses(shuffle: torch.Generator) -> Iterator[Tensor]:
        for rows in torch.randperm(len(train), generator=shuffle).split(course.batch):
            with products(course):
                features = features_of(model, prepare_pixels(train.pixels[rows]))
            yield torch.nn.functional.cross_entropy(head.logits(features.float()), labels[rows])

    def score() -> float:
        with products(course):
            features = encode_images(model, validation.pixels)
        return accuracy(head, features.float(), validation.labels)

    return train_to_best(model, math.ceil(len(train) / course.batch), losses, score, course, progress)
