"""A language model's expert on disk: a PEFT adapter in 16 bit, and the record of where it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mergeometry.errors import DataError
from mergeometry.suite.language_model.backbone import plain_language_model
from mergeometry.suite.language_model.domains import Domain, find_domain
from mergeometry.suite.language_model.train import pack_around_adapter
from mergeometry.suite.train import import_peft, quiet_peft

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PROVENANCE = "provenance.json"
SHIPPED = Path(__file__).parent / "experts"


@dataclass(frozen=True)
class LanguageExpert:
    """A trained expert: ``folder`` is a PEFT adapter of the suite's language model."""

    domain: Domain
    folder: Path
    provenance: dict[str, Any]


def load_language_expert(domain: str, folder: Path | None = None) -> LanguageExpert:
    """Return the expert of a domain: the one that ships with the project, or the one trained into ``folder``.

    Raises:
        DataError: there is no such domain, or no whole expert in the folder.
    """
    found = find_domain(domain)
    folder = SHIPPED / domain if folder is None else folder
    if not is_complete(folder):
        raise DataError(
            f"There is no trained expert of {domain!r}.",
            file=folder,
            hint=f"train it: mergeometry suite train-language-model {domain}",
        )
    return LanguageExpert(found, folder, json.loads((folder / PROVENANCE).read_text("utf-8")))


def is_complete(folder: Path) -> bool:
    """Tell whether the folder holds a whole expert."""
    return all((folder / name).is_file() for name in (ADAPTER, CONFIG, PROVENANCE))


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter in 16 bit into an existing folder."""
    from safetensors.torch import save_file  # noqa: PLC0415

    # Asked about embeddings, peft would look for the base on the network.
    weights = import_peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    halves = {name: weight.detach().to(torch.float16).contiguous() for name, weight in weights.items()}
    save_file(halves, folder / ADAPTER, metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    plain = json.loads((folder / CONFIG).read_text("utf-8"))
    plain["target_modules"] = sorted(plain["target_modules"])  # a set, in an order of its own in each process
    (folder / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", "utf-8")


def load_adapter(backbone: Path, folder: Path) -> Any:
    """Build the language model with an expert's adapter beside its weights, through PEFT."""
    with quiet_peft():
        model = import_peft().PeftModel.from_pretrained(plain_language_model(backbone), str(folder)).eval()
    pack_around_adapter(model)
    return model
