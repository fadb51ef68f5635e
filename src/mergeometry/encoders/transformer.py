"""Builds a model from a folder, for every encoder that runs through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.errors import DataError


def build(kind: str, folder: Path, device: torch.device, **options: Any) -> Any:
    """Build a model of an ``AutoModel`` class from a folder, in float32, frozen, without any download.

    Raises:
        DataError: transformers cannot build the model.
    """
    transformers = import_transformers()
    # On CPUs, fused attention is several times slower than the plain one when gradients are taken (measured).
    # Elsewhere transformers chooses, since not every model has the fused one.
    if device.type == "cpu":
        options["attn_implementation"] = "eager"
    with quiet_transformers():
        try:
            model = getattr(transformers, kind).from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, **options
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise DataError(f"transformers cannot build the base model: {error}", file=folder) from error
    return model.eval().requires_grad_(False).to(device)
