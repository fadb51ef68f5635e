"""An expert on disk: a PEFT adapter in 16 bit, its frozen head, and the record of where both came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mergeometry.errors import DataError
from mergeometry.evaluate.encoder import build_model
from mergeometry.evaluate.metrics import Head
from mergeometry.suite.heads import load_head, save_head
from mergeometry.suite.tasks import Task, find_task
from mergeometry.suite.train import import_peft, pack_frozen, quiet_peft

ADAPTER = "adapter_model.safetensors"
HEAD = "head.safetensors"
PROVENANCE = "provenance.json"
SHIPPED = Path(__file__).parent / "experts"


@dataclass(frozen=True)
class Expert:
    """A trained expert: ``folder`` is a PEFT adapter of the suite's backbone."""

    task: Task
    folder: Path
    head: Head
    provenance: dict[str, Any]


def load_expert(task: str, folder: Path | None = None) -> Expert:
    """Return the expert of a task: the one that ships with the project, or the one trained into ``folder``."""
    found = find_task(task)
    folder = SHIPPED / task if folder is None else folder
    if not is_complete(folder):
        raise DataError(
            f"There is no trained expert of {task!r}.", file=folder, hint=f"train it: mergeometry suite train {task}"
        )
    provenance = json.loads((folder / PROVENANCE).read_text("utf-8"))
    return Expert(found, folder, load_head(folder / HEAD), provenance)


def is_complete(folder: Path) -> bool:
    """Tell whether the folder holds a whole expert."""
    return all((folder / name).is_file() for name in (ADAPTER, "adapter_config.json", HEAD, PROVENANCE))


def save_adapter(model: Any, head: Head, folder: Path) -> None:
    """Write the adapter in 16 bit and the head into an existing folder."""
    from safetensors.torch import save_file  # noqa: PLC0415

    # Asked about embeddings, peft would look for the base on the network.
    weights = import_peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    halves = {name: weight.detach().to(torch.float16).contiguous() for name, weight in weights.items()}
    save_file(halves, folder / ADAPTER, metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    path = folder / "adapter_config.json"
    plain = json.loads(path.read_text("utf-8"))
    plain["target_modules"] = sorted(plain["target_modules"])  # a set, in an order of its own in each process
    path.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", "utf-8")
    save_head(head, folder / HEAD)


def load_adapter(backbone: Path, folder: Path) -> Any:
    """Build the backbone with an expert's adapter beside its weights, through PEFT."""
    with quiet_peft():
        model = import_peft().PeftModel.from_pretrained(build_model(backbone), str(folder)).eval()
    pack_frozen(model)
    return model
