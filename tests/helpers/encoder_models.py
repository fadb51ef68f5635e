"""Tiny models of every kind that has an encoder, what they read, and their features by transformers itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from mergeometry.encoders import Encoder, Inputs, build_encoder
from mergeometry.encoders.causal import CausalEncoder
from mergeometry.encoders.image import ImageEncoder
from mergeometry.encoders.seq2seq import Pair, Seq2SeqEncoder
from mergeometry.encoders.text import TextEncoder
from mergeometry.inputs import UnlabelledData
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sources import open_checkpoint

CPU = torch.device("cpu")
TEXTS = ("w1 w2 w3", "w4 w5 w6 w7 w8 w9 w10", "w11 w12", "w13 w2 w33 w21 w9")
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
DECODER = {"vocab_size": 40, "d_model": 16}
BART = {
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", {**SIZES, "vocab_size": 40, "max_position_embeddings": 32}),
    "llama": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {**SIZES, "vocab_size": 40, "num_key_value_heads": 1, "tie_word_embeddings": False, **SPECIAL},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40, **SPECIAL},
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**DECODER, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0, **SPECIAL},
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        {**DECODER, **BART, **SPECIAL, "decoder_start_token_id": 3, "forced_eos_token_id": None},
    ),
    "marian": (
        "MarianMTModel",
        "MarianConfig",
        {**DECODER, **BART, **SPECIAL, "decoder_start_token_id": 0, "forced_eos_token_id": None},
    ),
    "vit": ("ViTModel", "ViTConfig", {**SIZES, "image_size": 28, "patch_size": 7}),
    "dinov2": (
        "Dinov2Model",
        "Dinov2Config",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 28,
         "patch_size": 7},
    ),
    "registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 28,
         "patch_size": 7, "num_register_tokens": 3},
    ),
}  # fmt: skip
"""Class, configuration and its settings of each tiny model."""
TEXT, CAUSAL, SEQ2SEQ, VISION = ["bert"], ["llama", "gpt2"], ["t5", "bart", "marian"], ["vit", "dinov2", "registers"]


def made(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model with weights that are all random: fresh ones have biases of 0 and norms of 1, which hide mistakes."""
    import transformers

    kind, config, settings = MODELS[name]
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(getattr(transformers, config)(**{**settings, **changes})).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Encoder-decoders a lot, or they write one token again and again.
            parameter.data += (0.5 if name in SEQ2SEQ else 0.1) * torch.randn_like(parameter)
    return model


def save_processor(folder: Path) -> None:
    import transformers

    transformers.BitImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}, image_mean=[0.4, 0.5, 0.6]
    ).save_pretrained(folder)


def texts(values: Sequence[str] = TEXTS) -> UnlabelledData:
    return UnlabelledData(tuple(values), "texts", (), "")


def pictures(paths: Sequence[Path]) -> UnlabelledData:
    return UnlabelledData(tuple(paths), "images", (), "")


def encoder_of(folder: Path, pooling: Any = None, longest: int = 32) -> Any:
    options = EncoderOptions(pooling=pooling, max_length=longest)
    return build_encoder(open_checkpoint(folder, "base"), options, CPU)


def ready(encoder: Encoder, images: Sequence[Path]) -> Inputs:
    if isinstance(encoder, Seq2SeqEncoder):
        targets = ((5, 6, 7, 8), (9, 3), (12,), (13, 14, 5, 13, 39))
        pairs = [Pair(own.source, target) for own, target in zip(encoder.prepare(texts()).items, targets, strict=True)]
        return Inputs(pairs, (1,) * len(pairs), tuple(map(len, targets)))
    return encoder.prepare(pictures(images) if isinstance(encoder, ImageEncoder) else texts())


def run(encoder: Encoder, inputs: Inputs, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    batch = encoder.batch(inputs.items)
    assert batch.rows == inputs.rows
    with torch.no_grad():
        return encoder.features(encoder.module, weights or {}, batch)


def one_by_one(encoder: Encoder, inputs: Inputs, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    alone = [Inputs([item], (1,), (rows,)) for item, rows in zip(inputs.items, inputs.rows, strict=True)]
    return torch.cat([run(encoder, item, weights) for item in alone])


def reference(model: Any, encoder: Any, inputs: Inputs, pooling: str = "mean") -> Tensor:
    """Features by transformers' own forward pass, input by input: hidden states of the model as it is published."""
    found = []
    with torch.no_grad():
        for item in inputs.items:
            if isinstance(encoder, TextEncoder):
                output = model(input_ids=torch.tensor([item]))
                hidden = output.last_hidden_state[0]
                kinds = {"mean": hidden.mean(0), "first": hidden[0], "last": hidden[-1]}
                found.append((kinds[pooling] if pooling in kinds else output.pooler_output[0])[None])
            elif isinstance(encoder, CausalEncoder):
                found.append(model(input_ids=torch.tensor([item]), output_hidden_states=True).hidden_states[-1][0, :-1])
            elif isinstance(encoder, Seq2SeqEncoder):
                given = torch.tensor([[model.config.decoder_start_token_id, *item.target[:-1]]])
                source = torch.tensor([item.source])
                hidden = model(input_ids=source, decoder_input_ids=given, output_hidden_states=True)
                scale = 16**-0.5 if model.config.model_type == "t5" else 1.0
                found.append(hidden.decoder_hidden_states[-1][0] * scale)
            else:
                hidden = model(pixel_values=pixels_of(item)).last_hidden_state[0]
                found.append((hidden[0] if pooling == "first" else hidden[-16:].mean(0))[None])
    return torch.cat(found)


def pixels_of(path: Path) -> Tensor:
    """The shortest side 32 by bicubic resizing, the middle 28 x 28, then mean and deviation: by Pillow and by hand."""
    from PIL import Image

    image = Image.open(path)
    short = min(image.size)
    width, height = (int(32 * side / short) if side != short else 32 for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 28) // 2, (height - 28) // 2
    image = image.crop((left, top, left + 28, top + 28))
    values = torch.tensor(list(image.tobytes())).reshape(28, 28, 3).permute(2, 0, 1) / 255
    mean = torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    return ((values - mean) / deviation)[None]


def on_disk(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def tuned(folder: Path, encoder: Encoder, target: Path) -> tuple[Path, dict[str, Tensor]]:
    """Another model in the base's format, every tensor on disk changed, and its weights as learning hands them."""
    generator = torch.Generator().manual_seed(7)
    changed = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) if "bias" not in name else tensor * 1.2
        for name, tensor in on_disk(folder).items()
    }
    target.mkdir()
    safetensors.torch.save_file(changed, target / "model.safetensors", metadata={"format": "pt"})
    for file in folder.glob("*.json"):
        (target / file.name).write_bytes(file.read_bytes())
    return target, {own: changed[name] for name, own in encoder.names.items() if own is not None}
