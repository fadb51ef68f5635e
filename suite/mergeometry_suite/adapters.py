"""LoRA adapters through PEFT: put a fresh one on a model, and write one to disk in 16 bit."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mergeometry.encoders.packed import pack_linears
from mergeometry.errors import DataError
from mergeometry.words import install_suite

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def import_peft() -> Any:
    """Import peft, which only the suite needs.

    Raises:
        DataError: peft is not installed.
    """
    try:
        import peft  # noqa: PLC0415
    except ImportError as error:
        raise DataError("training or running an adapter needs peft", hint=install_suite()) from error
    return peft


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence peft, which asks transformers for an attribute under its old name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def fresh_adapter(model: Any, linears: Sequence[str], *, rank: int, alpha: int, kind: str, base: str) -> Any:
    """Put a fresh adapter on the named linear layers of a model; everything else is frozen."""
    peft = import_peft()
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=list(linears), task_type=kind
    )
    with quiet_peft():
        adapted = peft.get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


def pack_frozen(model: Any) -> None:
    """Replace the frozen layers inside an adapter's layers with packed ones."""
    for module in model.modules():
        if hasattr(module, "base_layer") and hasattr(module, "lora_A"):
            wrapper = torch.nn.ModuleDict({"base_layer": module.base_layer})
            pack_linears(wrapper, trains=True)
            module.base_layer = wrapper["base_layer"]


def write_adapter(model: Any, folder: Path) -> None:
    """Write a model's adapter in 16 bit into an existing folder."""
    from safetensors.torch import save_file  # noqa: PLC0415

    # Asked about embeddings, peft would look for the base on the network.
    weights = import_peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    halves = {name: weight.detach().to(torch.float16).contiguous() for name, weight in weights.items()}
    save_file(halves, folder / ADAPTER, metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    plain = json.loads((folder / CONFIG).read_text("utf-8"))
    plain["target_modules"] = sorted(plain["target_modules"])  # a set, whose order differs between processes
    (folder / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", "utf-8")


def read_adapter(model: Any, folder: Path) -> Any:
    """Load an adapter from disk on top of a model's weights."""
    with quiet_peft():
        return import_peft().PeftModel.from_pretrained(model, str(folder)).eval()
