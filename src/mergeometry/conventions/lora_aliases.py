"""The names that LoRA files give to modules of diffusers' models: those of the original checkpoints.

Sources: `convert_ldm_unet_checkpoint` and `convert_flux_transformer_checkpoint_to_diffusers` of diffusers' scripts. A
module of an original checkpoint may hold several of diffusers', one below the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple


class Target(NamedTuple):
    """A module of the base, and which of the rows of the original module's outputs it has; all by default."""

    module: str
    rows: tuple[int, int] | None = None


def aliases(shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[Target, ...]]:
    """Original names of modules to their targets in a model of diffusers, by the shapes of its modules' weights."""
    return {**_unet(shapes), **_flux(shapes)}


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)(?:\.(.+))?")
_SAMPLER = re.compile(r"(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.conv")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)(?:\.(.+))?")


def _unet(modules: Collection[str]) -> dict[str, tuple[Target, ...]]:
    blocks = [match for module in modules if (match := _BLOCK.fullmatch(module))]
    layers = 1 + max((int(m[4]) for m in blocks if m[1] == "down" and m[3] == "resnets"), default=-1)
    if not layers:
        return {}
    attended = {int(m[2]) for m in blocks if m[1] == "up" and m[3] == "attentions"}
    return {
        name: (Target(module),)
        for module in modules
        if (name := _unet_name(module, layers, attended)) is not None and name != module
    }


def _unet_name(module: str, layers: int, attended: Collection[int]) -> str | None:
    if match := _BLOCK.fullmatch(module):
        side, block, kind, place, rest = match[1], int(match[2]), match[3], int(match[4]), match[5] or ""
        number = block * (layers + 1) + place + (side == "down")
        at = f"{'input' if side == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}"
        return _joined(at, _RESNET.get(rest, rest) if kind == "resnets" else rest)
    if match := _SAMPLER.fullmatch(module):
        block = int(match[2])
        if match[1] == "down":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.op"
        return f"output_blocks.{block * (layers + 1) + layers}.{1 + (block in attended)}.conv"
    if match := _MIDDLE.fullmatch(module):
        kind, place, rest = match[1], int(match[2]), match[3] or ""
        if kind == "attentions":
            return _joined(f"middle_block.{1 + 2 * place}", rest)
        return _joined(f"middle_block.{2 * place}", _RESNET.get(rest, rest))
    return _UNET_ENDS.get(module)


_FLUX_DOUBLE: dict[str, tuple[str, ...]] = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",), "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",), "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",), "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",), "txt_mod.lin": ("norm1_context.linear",),
}  # fmt: skip
_FLUX_SINGLE: dict[str, tuple[str, ...]] = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",), "modulation.lin": ("norm.linear",),
}  # fmt: skip
_FLUX_ENDS = {
    "img_in": "x_embedder", "txt_in": "context_embedder", "final_layer.linear": "proj_out",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
}  # fmt: skip


def _flux(shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[Target, ...]]:
    if "single_transformer_blocks.0.proj_mlp" not in shapes:
        return {}
    found: dict[str, tuple[Target, ...]] = {}
    for theirs, ours, parts in (
        ("double_blocks", "transformer_blocks", _FLUX_DOUBLE),
        ("single_blocks", "single_transformer_blocks", _FLUX_SINGLE),
    ):
        blocks = {match[1] for name in shapes if (match := re.match(rf"{ours}\.(\d+)\.", name))}
        for number in sorted(blocks, key=int):
            for name, modules in parts.items():
                targets = tuple(_stacked([f"{ours}.{number}.{module}" for module in modules], shapes))
                if len(targets) == len(modules):
                    found[f"{theirs}.{number}.{name}"] = targets
    return found | {name: (Target(module),) for name, module in _FLUX_ENDS.items() if module in shapes}


def _stacked(modules: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> Iterator[Target]:
    """The targets of modules that are rows of one, in their order."""
    first = 0
    for module in modules:
        if module in shapes:
            yield Target(module, (first, first + shapes[module][0]) if len(modules) > 1 else None)
            first += shapes[module][0]


def _joined(place: str, rest: str) -> str:
    return f"{place}.{rest}" if rest else place
