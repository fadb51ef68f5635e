"""Inputs: checkpoints and adapters on disk, validated by their headers, read tensor by tensor."""

from __future__ import annotations

import os

from mergeometry.errors import SourceError
from mergeometry.sources.adapter import Adapter, open_adapter
from mergeometry.sources.adapter_config import CONFIG_FILE as _ADAPTER_CONFIG
from mergeometry.sources.checkpoint import ADAPTER_FILE, INDEX_FILE, SINGLE_FILE, Checkpoint, open_checkpoint
from mergeometry.sources.files import located, naming_model
from mergeometry.sources.header import Header, read_header
from mergeometry.sources.lora import AdapterDelta, read_factors
from mergeometry.sources.reader import TensorReader
from mergeometry.sources.tensors import FileStamp, TensorInfo
from mergeometry.sources.updates import DenseUpdate

__all__ = [
    "Adapter",
    "AdapterDelta",
    "Checkpoint",
    "DenseUpdate",
    "FileStamp",
    "Header",
    "TensorInfo",
    "TensorReader",
    "open_adapter",
    "open_checkpoint",
    "open_model",
    "read_factors",
    "read_header",
]


def open_model(path: str | os.PathLike[str], label: str, *, dequantise: bool = False) -> Checkpoint | Adapter:
    """Open whatever model is at the path: a folder with adapter_config.json is an adapter, all else a checkpoint.

    With ``dequantise``, weights that are stored scaled or packed are formed as numbers while they are read.

    Raises:
        SourceError: the model cannot be read; the error names its label.
    """
    with naming_model(label):
        folder = located(path)
        if not folder.is_dir() or not os.path.lexists(folder / _ADAPTER_CONFIG):
            return open_checkpoint(folder, label, dequantise=dequantise)
        full = [name for name in (SINGLE_FILE, INDEX_FILE) if os.path.lexists(folder / name)]
        if full and os.path.lexists(folder / ADAPTER_FILE):
            raise SourceError(
                f"the folder holds both an adapter and a full model ({', '.join(full)})",
                file=folder,
                hint="move each into a folder of its own",
            )
        return open_adapter(folder, label)
