"""LoRA adapters as PEFT saves them, opened as low-rank updates that are never multiplied out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.conventions.modules import Part
from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import read_adapter_config
from mergeometry.sources.adapter_tensors import AdapterTensors
from mergeometry.sources.checkpoint import ADAPTER_FILE
from mergeometry.sources.experts import StackedFactors
from mergeometry.sources.files import located, naming_model
from mergeometry.sources.header import read_header
from mergeometry.sources.kinds import CONVERT_HINT
from mergeometry.sources.lora import AdapterDelta
from mergeometry.sources.survey import Entry, survey
from mergeometry.sources.tensors import TensorInfo
from mergeometry.sources.updates import DenseUpdate


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on disk; no weight is read yet.

    ``deltas``, ``updates`` (those that are no product of two factors) and ``replaced`` (whole tensors, such as those of
    `modules_to_save`) are keyed by the weight's name without PEFT's prefix, in order of names. ``carried`` are copies
    of the base's own weights that PEFT saves with adapters of embeddings: they must equal the base's. ``stacked`` are
    factors of bare parameters by module, which are assigned to the parameters by the base's shapes.
    """

    path: Path
    label: str
    deltas: Mapping[str, AdapterDelta]
    updates: Mapping[str, DenseUpdate]
    stacked: Mapping[str, StackedFactors]
    replaced: Mapping[str, TensorInfo]
    carried: Mapping[str, TensorInfo]
    base_name: str | None
    task_type: str | None
    config: Mapping[str, Any]
    metadata: Mapping[str, str]
    files: tuple[Path, ...]
    component: str = ""
    """The model that a LoRA file says it is for, such as `unet` or `te1`; empty where it says nothing."""
    contents: tuple[Entry, ...] = ()
    """Every file and subfolder of the adapter's folder, with what it is."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.infos())

    def infos(self) -> Iterator[TensorInfo]:
        """Every tensor that decides the result, and the copies of the base's."""
        for update in [*self.deltas.values(), *self.updates.values(), *self.stacked.values()]:
            yield from update.infos
        yield from [*self.replaced.values(), *self.carried.values()]

    def names(self) -> list[str]:
        """The names of the base's tensors that it changes or carries a copy of."""
        stacked = [name for stack in self.stacked.values() for name in stack.weights]
        return list(dict.fromkeys([*self.deltas, *self.updates, *stacked, *self.replaced, *self.carried]))


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
        tensors = AdapterTensors(config, weights)
        for name, info in sorted(header.tensors.items()):
            tensors.add(name, info)
        contents = tensors.contents()
        return Adapter(
            path=folder,
            label=label,
            deltas=dict(sorted(contents.deltas.items())),
            updates=dict(sorted(contents.updates.items())),
            stacked=dict(sorted(contents.stacked.items())),
            replaced=dict(sorted(contents.replaced.items())),
            carried=dict(sorted(contents.carried.items())),
            base_name=config.base_name,
            task_type=config.task_type,
            config=config.values,
            metadata=header.metadata,
            files=(weights,),
            contents=survey(folder, {weights}, [Part(stem="adapter_model")], ()),
        )
