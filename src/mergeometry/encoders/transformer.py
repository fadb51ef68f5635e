"""Builds a model from a folder, for every encoder that runs through transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.errors import DataError, in_one_line
from mergeometry.sources import TensorInfo, TensorReader

_GENERATION = "generation_config.json"


def build(kind: str, folder: Path, disk: Mapping[str, TensorInfo], device: torch.device) -> Any:
    """Build a model of an ``AutoModel`` class in float32, frozen, from a folder's configuration and the tensors given.

    transformers opens no weights itself: it would look for them by rules of its own, and read a pickle where it finds
    no file of the usual name. Neither does it run code of the folder, or download anything.

    Raises:
        DataError: transformers cannot build the model.
        SourceError: a file of weights is no longer what it was.
    """
    transformers = import_transformers()
    # On CPUs, fused attention is several times slower than the plain one when gradients are taken (measured).
    # Elsewhere transformers chooses, since not every model has the fused one.
    options = {"attn_implementation": "eager"} if device.type == "cpu" else {}
    with TensorReader() as reader:
        tensors = {name: reader.read(info) for name, info in disk.items()}
    with quiet_transformers():
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            # It would name a file of weights to load instead.
            vars(config).pop("transformers_weights", None)
            with torch.device("meta"):
                shell = getattr(transformers, kind).from_config(config, trust_remote_code=False, **options)
            model = type(shell).from_pretrained(
                None, config=shell.config, state_dict=tensors, dtype=torch.float32, **options
            )
            if model.can_generate() and (folder / _GENERATION).is_file():
                model.generation_config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
        # transformers answers malformed configurations with errors of every kind.
        except Exception as error:
            raise DataError(f"transformers cannot build the base model: {in_one_line(error)}", file=folder) from error
    return model.eval().requires_grad_(False).to(device)
