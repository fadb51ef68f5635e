"""Full models that were trained as adapters: what people publish after ``merge_and_unload``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from mergeometry.encoders.heads import Head
from mergeometry_suite.adapters import read_adapter, write_adapter
from mergeometry_suite.full import save_full_expert
from mergeometry_suite.minilm import build_model


def save_folded(adapted: Any, backbone: Path, head: Head, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the backbone's weights with an adapter added to them, and the head that it was trained through.

    The adapter is rounded to 16 bit first, as on disk, so the fold equals the adapter of the same seed.
    """
    with tempfile.TemporaryDirectory() as place:
        write_adapter(adapted, Path(place))
        folded = read_adapter(build_model(backbone), Path(place)).merge_and_unload()
    save_full_expert(folded, backbone, head, folder, dtype)
