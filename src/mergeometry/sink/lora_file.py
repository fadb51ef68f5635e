"""The output as one LoRA file, as diffusers and kohya store it: names of tensors, and no settings.

Neither has an `alpha`: without it every loader takes the rank, so that each pair of factors adds ``B A`` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from mergeometry.sink.adapter import AdapterModule, adapter_tensors
from mergeometry.sink.layout import OutputTensor

LoraFormat: TypeAlias = Literal["diffusers", "kohya"]

LORA_STEM = "pytorch_lora_weights"
"""The name that diffusers looks for in a folder."""

_KOHYA = {"text_encoder": "te1", "text_encoder_2": "te2", "text_encoder_3": "te3"}
_DIFFUSERS = {"te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2", "te3": "text_encoder_3"}


def lora_tensors(modules: Iterable[AdapterModule], code: str, layout: LoraFormat, component: str) -> list[OutputTensor]:
    """Return the tensors of the file, ``A`` then ``B`` for each module; ``component`` is the model they are for."""
    tensors: list[OutputTensor] = []
    for module in modules:
        pair = adapter_tensors([module], code)
        names = lora_tensor_names(module.name, layout, component)
        tensors += [OutputTensor(name, one.code, one.shape) for name, one in zip(names, pair, strict=True)]
    return tensors


def lora_tensor_names(module: str, layout: LoraFormat, component: str) -> tuple[str, str]:
    """Return the names of a module's ``A`` and ``B`` in the file."""
    if layout == "kohya":
        place = f"lora_{_KOHYA.get(component, component)}_{module.replace('.', '_')}"
        return f"{place}.lora_down.weight", f"{place}.lora_up.weight"
    place = f"{_DIFFUSERS.get(component, component)}.{module}"
    return f"{place}.lora_A.weight", f"{place}.lora_B.weight"


def common_component(named: Sequence[str], class_name: str) -> str:
    """The model that a merge is for: what diffusers calls one of its class, or else what all inputs say.

    kohya's files say `unet` of every diffusion model, also of transformers.
    """
    if class_name:
        return "unet" if class_name.startswith("UNet") else "transformer"
    said = set(named) - {"", "diffusion_model"}
    return said.pop() if len(said) == 1 else "text_encoder"
