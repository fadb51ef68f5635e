"""What a tensor of a LoRA file is, by its name, in the formats of diffusers, kohya, ComfyUI and LyCORIS (LoCon).

| name | of |
| --- | --- |
| `unet.M.lora_A.weight`, `transformer.M.lora_B.weight` | diffusers, as PEFT names factors |
| `unet.M.lora.down.weight`, `text_encoder.M.lora_linear_layer.up.weight` | diffusers, older |
| `unet.M.processor.to_q_lora.down.weight` | diffusers, oldest: of `M.to_q` |
| `diffusion_model.M.lora_A.weight` | ComfyUI, ai-toolkit |
| `lora_unet_M.lora_down.weight`, `lora_te1_M.lora_up.weight` | kohya, LyCORIS: dots of M are underscores |
| `....alpha` | the scaling is alpha / rank; without it, 1 |
| `....lora_mid.weight` | LyCORIS: a factor between the two of a convolution |
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

LoraPart: TypeAlias = Literal["down", "up", "mid", "alpha", "magnitude", "bias"]

_COMPONENTS = r"unet|transformer|transformer_2|prior|text_encoder(?:_\d)?|diffusion_model"
_ENDS: tuple[tuple[str, LoraPart], ...] = (
    (r"\.lora_A(?:\.default)?\.weight", "down"),
    (r"\.lora_B(?:\.default)?\.weight", "up"),
    (r"\.lora_B(?:\.default)?\.bias", "bias"),
    (r"\.lora_magnitude_vector(?:\.default)?(?:\.weight)?", "magnitude"),
    (r"\.lora(?:_linear_layer)?[._]down\.weight", "down"),
    (r"\.lora(?:_linear_layer)?[._]up\.weight", "up"),
    (r"_lora\.down\.weight", "down"),
    (r"_lora\.up\.weight", "up"),
    (r"\.lora_mid\.weight", "mid"),
    (r"\.dora_scale", "magnitude"),
    (r"(?:\.lora(?:_linear_layer)?)?\.alpha", "alpha"),
)
_DOTTED: tuple[tuple[re.Pattern[str], LoraPart], ...] = tuple(
    (re.compile(rf"(?:(?P<component>{_COMPONENTS})\.)?(?P<key>.+?){end}"), part) for end, part in _ENDS
)
_KOHYA: tuple[tuple[re.Pattern[str], LoraPart], ...] = tuple(
    (re.compile(rf"lora_(?P<component>unet|te\d?|transformer|prior|llm)_(?P<key>[^.]+){end}"), part)
    for end, part in _ENDS
)
_PROCESSOR = re.compile(r"(?P<module>.+)\.processor\.(?P<map>to_\w+)")


class LoraName(NamedTuple):
    """The part that a tensor is, the model that it is for, and the module there, as the file spells it."""

    part: LoraPart
    component: str
    key: str
    underscored: bool
    """Whether the dots of the module's name are underscores."""


def lora_name(name: str) -> LoraName | None:
    """Sort a tensor in by its name; None where the name is of no such format."""
    for pattern, part in _KOHYA:
        if match := pattern.fullmatch(name):
            return LoraName(part, match["component"], match["key"], underscored=True)
    for pattern, part in _DOTTED:
        if match := pattern.fullmatch(name):
            key = match["key"]
            if old := _PROCESSOR.fullmatch(key):
                key = f"{old['module']}.{old['map']}{'.0' * (old['map'] == 'to_out')}"
            return LoraName(part, match["component"] or "", key, underscored=False)
    return None
