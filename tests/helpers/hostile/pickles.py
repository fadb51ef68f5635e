"""Pickles, which are programs: each would make a canary file if it were run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from tests.helpers.hostile.trick import Setting, trick


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def _save(setting: Setting, name: str, *, zipped: bool = True) -> None:
    (setting.model / "model.safetensors").unlink()
    torch.save({"x": Canary(setting.canary)}, setting.model / name, _use_new_zipfile_serialization=zipped)


@trick("pickled weights only", file="hostile")
def bin_file(setting: Setting) -> None:
    """Weights as torch saves them."""
    _save(setting, "pytorch_model.bin")


@trick("pickled weights only", file="hostile")
def old_format(setting: Setting) -> None:
    """Weights as torch saved them before it used zip archives."""
    _save(setting, "pytorch_model.bin", zipped=False)


@trick("zip archive.*never run")
def zip_named_safetensors(setting: Setting) -> None:
    """A pickle in a zip archive that calls itself safetensors."""
    _save(setting, "model.safetensors")


@trick("Python pickle.*never run")
def pickle_named_safetensors(setting: Setting) -> None:
    """A bare pickle that calls itself safetensors."""
    _save(setting, "model.safetensors", zipped=False)


@trick("weights are pickled; they are never read", file="adapter_model.bin")
def pickled_adapter(setting: Setting) -> None:
    """An adapter whose factors are a pickle."""
    _save(setting, "adapter_model.bin")
    (setting.model / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
