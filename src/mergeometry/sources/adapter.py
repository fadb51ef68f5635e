"""LoRA adapters as PEFT saves them, opened as low-rank updates that are never multiplied out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.conventions.modules import Part
from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import read_adapter_config
from mergeometry.sources.adapter_tensors import AdapterTensors
from mergeometry.sources.checkpoint import ADAPTER_FILE
from mergeometry.sources.files import located, naming_model
from mergeometry.sources.header import read_header
from mergeometry.sources.kinds import CONVERT_HINT
from mergeometry.sources.lora import AdapterDelta
from mergeometry.sources.survey import Entry, survey
from mergeometry.sources.tensors import TensorInfo


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on disk; no weight is read yet.

    ``deltas`` and ``replaced`` (whole tensors of `modules_to_save`) are keyed by the weight's name without PEFT's
    prefix, in order of names. ``carried`` are copies of the base's own weights that PEFT saves with adapters of
    embeddings: they must equal the base's.
    """

    path: Path
    label: str
    deltas: Mapping[str, AdapterDelta]
    replaced: Mapping[str, TensorInfo]
    carried: Mapping[str, TensorInfo]
    base_name: str | None
    config: Mapping[str, Any]
    metadata: Mapping[str, str]
    files: tuple[Path, ...]
    contents: tuple[Entry, ...] = ()
    """Every file and subfolder of the adapter's folder, with what it is."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        factors = [info for delta in self.deltas.values() for info in (delta.left, delta.right)]
        return sum(info.nbytes for info in [*factors, *self.replaced.values(), *self.carried.values()])


def open_adapter(path: str | os.PathLike[str], label: str) -> Adapter:
    """Open a PEFT LoRA folder by reading its settings and its header only.

    Raises:
        SourceError: the adapter is of another kind, or a file is missing or malformed; the error names the label.
    """
    with naming_model(label):
        folder = located(path)
        config = read_adapter_config(folder)
        weights = folder / ADAPTER_FILE
        if not weights.exists() and not weights.is_symlink():
            pickled = (folder / "adapter_model.bin").exists()
            raise SourceError(
                "the adapter's weights are pickled; they are never read: opening them runs code"
                if pickled
                else f"the adapter has no {ADAPTER_FILE}",
                file=folder / "adapter_model.bin" if pickled else folder,
                hint=CONVERT_HINT if pickled else None,
            )
        header = read_header(weights, folder)
        contents = AdapterTensors(config, weights)
        for name, info in sorted(header.tensors.items()):
            contents.add(name, info)
        contents.check()
        return Adapter(
            path=folder,
            label=label,
            deltas=dict(sorted(contents.deltas().items())),
            replaced=dict(sorted(contents.replaced.items())),
            carried=dict(sorted(contents.carried.items())),
            base_name=config.base_name,
            config=config.values,
            metadata=header.metadata,
            files=(weights,),
            contents=survey(folder, {weights}, [Part(stem="adapter_model")], ()),
        )
