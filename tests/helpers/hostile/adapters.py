"""Adapters whose settings change what their tensors mean, or hold the reader up."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch

from tests.helpers import models
from tests.helpers.hostile.trick import Setting, trick

CONFIG = "adapter_config.json"


def _adapter(setting: Setting, rank: int = 2, module: str = "layer.0.dense", **keys: Any) -> None:
    for file in setting.model.iterdir():
        file.unlink()
    models.write_adapter(setting.model, models.random_factors(1, {module: (4, 3)}, rank))
    config = json.loads((setting.model / CONFIG).read_text())
    (setting.model / CONFIG).write_text(json.dumps({**config, **keys}))


@trick("is unknown", file=CONFIG)
def setting_of_tomorrow(setting: Setting) -> None:
    """A switch that this version does not know and that may change what the tensors mean."""
    _adapter(setting, use_next_years_lora=True)


@trick("init_lora_weights", file=CONFIG)
def changed_base(setting: Setting) -> None:
    """An adapter of a base that its initialisation changed."""
    _adapter(setting, init_lora_weights="pissa")


@trick("rank 2, but the settings say 4", file="adapter_model.safetensors")
def another_rank(setting: Setting) -> None:
    """A rank that is not that of the factors, so that the scaling is wrong by a factor of two."""
    _adapter(setting, r=4)


@trick("finite number for lora_alpha", file=CONFIG)
def infinite_alpha(setting: Setting) -> None:
    """A scaling without bounds."""
    _adapter(setting)
    text = (setting.model / CONFIG).read_text()
    (setting.model / CONFIG).write_text(text.replace('"lora_alpha": 4.0', '"lora_alpha": 1e999'))


@trick("'r' twice", file=CONFIG)
def duplicate_rank(setting: Setting) -> None:
    """Two ranks."""
    _adapter(setting)
    text = (setting.model / CONFIG).read_text()
    (setting.model / CONFIG).write_text(text[:-1] + ', "r": 3}')


@trick("takes too many steps", file=CONFIG)
def patterns_without_end(setting: Setting) -> None:
    """Thousands of patterns that each take long to match."""
    _adapter(setting, module="a" * 900, rank_pattern={f"(a?){{150}}z{number}": 2 for number in range(3_000)})


@trick("missing \\)", file=CONFIG)
def broken_pattern(setting: Setting) -> None:
    """A pattern that is none."""
    _adapter(setting, alpha_pattern={"(": 1})


@trick("lack their other factor", file="adapter_model.safetensors")
def half_an_update(setting: Setting) -> None:
    """A factor without its other half."""
    _adapter(setting)
    file = setting.model / "adapter_model.safetensors"
    kept = {name: value for name, value in safetensors.torch.load_file(file).items() if "lora_A" in name}
    safetensors.torch.save_file(kept, file)
