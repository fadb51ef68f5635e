"""GGUF files, written by the format's library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HIDDEN, INNER, HEADS, PAIRS, LAYERS, VOCABULARY = 256, 512, 4, 2, 1, 64
SHAPES = {
    "token_embd": (VOCABULARY, HIDDEN), "output": (VOCABULARY, HIDDEN), "output_norm": (HIDDEN,),
    "blk.0.attn_norm": (HIDDEN,), "blk.0.ffn_norm": (HIDDEN,), "blk.0.attn_q": (HIDDEN, HIDDEN),
    "blk.0.attn_k": (HIDDEN // 2, HIDDEN), "blk.0.attn_v": (HIDDEN // 2, HIDDEN), "blk.0.attn_output": (HIDDEN, HIDDEN),
    "blk.0.ffn_gate": (INNER, HIDDEN), "blk.0.ffn_up": (INNER, HIDDEN), "blk.0.ffn_down": (HIDDEN, INNER),
}  # fmt: skip


def write_gguf(path: Path, kind: str, architecture: str = "llama", seed: int = 0) -> Path:
    """Random blocks of a kind: the scales are set small, so that every value is finite."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {
        "context_length": 64, "embedding_length": HIDDEN, "block_count": LAYERS, "feed_forward_length": INNER,
        "attention.head_count": HEADS, "attention.head_count_kv": PAIRS, "vocab_size": VOCABULARY,
    }.items():  # fmt: skip
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    random = np.random.default_rng(seed)
    for name, shape in SHAPES.items():
        values = random.standard_normal(shape).astype(np.float32)
        quantised = gguf.GGMLQuantizationType[kind]
        if len(shape) == 1 or kind == "F32":
            writer.add_tensor(f"{name}.weight", values)
        elif kind in ("Q8_0", "Q4_0", "F16", "BF16"):
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, quantised), raw_dtype=quantised)
        else:
            block, size = gguf.GGML_QUANT_SIZES[quantised]
            raw = random.integers(0, 256, (*shape[:-1], shape[-1] // block, size), dtype=np.uint8)
            places = {"Q4_K": (0, 2), "Q6_K": (size - 2,)}[kind]
            for place in places:
                raw[..., place : place + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
            writer.add_tensor(f"{name}.weight", raw.reshape(*shape[:-1], -1), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
