"""An expert on disk: a PEFT adapter in 16 bit, its frozen head, and the record of where both came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.encoders.heads import Head
from mergeometry.errors import DataError
from mergeometry_suite.adapters import ADAPTER, CONFIG, pack_frozen, read_adapter, write_adapter
from mergeometry_suite.heads import load_head, save_head
from mergeometry_suite.minilm import build_model
from mergeometry_suite.staging import PROVENANCE, read_provenance
from mergeometry_suite.tasks import Task, find_task
from mergeometry_suite.train import adapter_folder

HEAD = "head.safetensors"
SHIPPED = Path(__file__).parent / "experts"


@dataclass(frozen=True)
class Expert:
    """A trained expert: ``folder`` is a PEFT adapter of the suite's backbone."""

    task: Task
    folder: Path
    head: Head
    provenance: dict[str, Any]


def load_expert(task: str, folder: Path | None = None, seed: int = 0) -> Expert:
    """Return the expert of a task: the one in ``folder``, else the one that ships, else the one in the cache.

    Those that ship are of training seed 0; those of any other are in the cache.

    Raises:
        DataError: there is no such task, or no whole expert in the folder.
    """
    text_task = find_task(task)
    if folder is None:
        ships = seed == 0 and (SHIPPED / task).is_dir()
        folder = SHIPPED / task if ships else adapter_folder(seed) / task
    if not is_complete(folder):
        raise DataError(
            f"there is no trained expert of {task!r}",
            file=folder,
            hint=f"train it: mergeometry suite train {task}{f' --seed {seed}' if seed else ''}",
        )
    return Expert(text_task, folder, load_head(folder / HEAD), read_provenance(folder))


def is_complete(folder: Path) -> bool:
    """Tell whether the folder holds a whole expert."""
    return all((folder / name).is_file() for name in (ADAPTER, CONFIG, HEAD, PROVENANCE))


def save_adapter(model: Any, head: Head, folder: Path) -> None:
    """Write the adapter in 16 bit and the head into an existing folder."""
    write_adapter(model, folder)
    save_head(head, folder / HEAD)


def load_adapter(backbone: Path, folder: Path) -> Any:
    """Build the backbone with an expert's adapter on top of its weights, through PEFT."""
    model = read_adapter(build_model(backbone), folder)
    pack_frozen(model)
    return model
