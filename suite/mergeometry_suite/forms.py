"""The two forms of experts: an adapter on the backbone, or the whole encoder trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.encoders.heads import Head
from mergeometry_suite import experts, full, train
from mergeometry_suite.loop import Trained


@dataclass(frozen=True)
class Form:
    """How experts of one form are trained, written, recognised and read.

    ``train(backbone, head, splits, regime, progress)``, ``save(model, backbone, head, folder)``,
    ``is_complete(folder)``, and ``load(backbone, folder)``, which gives a model to encode with.
    """

    command: str
    regime: Any
    train: Callable[..., Trained]
    save: Callable[[Any, Path, Head, Path], None]
    is_complete: Callable[[Path], bool]
    load: Callable[[Path, Path], Any]


ADAPTER = Form(
    "mergeometry suite train",
    train.Regime(),
    train.train_adapter,
    lambda model, _backbone, head, folder: experts.save_adapter(model, head, folder),
    experts.is_complete,
    experts.load_adapter,
)
FULL = Form(
    "mergeometry suite train --full",
    full.FullRegime(),
    full.train_full,
    full.save_full_expert,
    full.is_complete_full,
    full.load_full,
)
