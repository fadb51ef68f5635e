"""Train a LoRA adapter against a frozen head."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mergeometry.cache import cache_folder
from mergeometry.encoders.heads import Head
from mergeometry_suite.adapters import fresh_adapter, pack_frozen
from mergeometry_suite.backbone import NAME
from mergeometry_suite.loop import Course, Epoch, Trained, train_weights
from mergeometry_suite.minilm import build_model
from mergeometry_suite.packages import MINILM
from mergeometry_suite.splits import Splits

# All linear maps of a BERT layer, but not the pooler's.
LINEARS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")


@dataclass(frozen=True, kw_only=True)
class Regime(Course):
    """How an adapter is trained: hard enough that merging is a problem, and to convergence.

    Small steps leave task vectors so short that their plain sum keeps every expert's accuracy, and then all
    merging methods look alike.
    """

    learning_rate: float = 1e-3
    rank: int = 16
    alpha: int = 32


def adapter_folder(seed: int = 0) -> Path:
    """Return the folder in the cache that adapters of a training seed are trained into, one folder per task.

    The backbone and the regime are part of its name, as with full fine-tunes.
    """
    recipe = hashlib.sha256(repr((MINILM.sha256, Regime(seed=seed))).encode()).hexdigest()[:8]
    return cache_folder() / "experts" / f"{MINILM.name}-lora-{recipe}"


def train_adapter(
    folder: Path,
    head: Head,
    splits: Splits,
    regime: Regime,
    progress: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train all of an adapter's matrices on cross-entropy through the frozen head."""
    torch.manual_seed(regime.seed)  # the adapter's first matrices
    return train_weights(build_adapter(folder, regime), folder, head, splits, regime, progress)


def build_adapter(folder: Path, regime: Regime) -> Any:
    """Build the encoder with a fresh adapter on all its linear layers; everything else is frozen."""
    model = fresh_adapter(
        build_model(folder), LINEARS, rank=regime.rank, alpha=regime.alpha, kind="FEATURE_EXTRACTION", base=NAME
    )
    pack_frozen(model)
    return model
