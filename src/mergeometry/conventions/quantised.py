"""Numbers that are stored scaled or packed, recognised by the tensors that come with them.

A name alone proves nothing: ordinary models have parameters called `scale` or `scales`. Each row asks for all tensors
that a format stores for one weight, and for the dtypes that it stores them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_BYTES = frozenset({"U8", "I8"})
_FP8 = frozenset({"F8_E4M3", "F8_E5M2"})
_WORDS = frozenset({"I32", "U32", "I16"})

ORIGINAL_HINT = "merge the model in 16 or 32 bit that it was made from"
RECIPE_HINT = "write `dequantise: true` in the recipe (--set dequantise=true), or merge the model that it was made from"
DEQUANTISE_HINT = "load it with transformers, call model.dequantize(), and save that with save_pretrained"


class Format(NamedTuple):
    """One way to store numbers: the ends of the names of its tensors, each with the dtypes it may have (None: any)."""

    name: str
    ends: tuple[tuple[str, frozenset[str] | None], ...]
    hint: str
    source: str


FORMATS = (
    Format("GPTQ", ((".qweight", _WORDS), (".qzeros", _WORDS), (".g_idx", None)), RECIPE_HINT, "AutoGPTQ qlinear"),
    Format("AWQ", ((".qweight", _WORDS), (".qzeros", None), (".scales", None)), RECIPE_HINT, "AutoAWQ gemm.py"),
    Format(
        "SVDQuant", ((".qweight", _BYTES), (".wscales", None)), ORIGINAL_HINT, "nunchaku models/linear.py",
    ),
    Format(
        "bitsandbytes 4 bit", ((".absmax", None), (".quant_map", None)), RECIPE_HINT,
        "bitsandbytes functional.py, QuantState.as_dict: weight.absmax, weight.quant_state.bitsandbytes__nf4",
    ),
    Format("bitsandbytes 8 bit", ((".SCB", None), (".weight", _BYTES)), RECIPE_HINT, "bitsandbytes nn/modules.py"),
    Format(
        "compressed-tensors, packed", ((".weight_packed", None), (".weight_scale", None)),
        RECIPE_HINT,
        "compressed-tensors compressors/quantized_compressors",
    ),
    Format("compressed-tensors, sparse", ((".compressed", None), (".bitmask", _BYTES)), DEQUANTISE_HINT,
           "compressed-tensors compressors/sparse_compressors/sparse_bitmask.py"),
    Format(
        "scaled 8 bit (compressed-tensors, fbgemm, BitNet)", ((".weight_scale", None), (".weight", _FP8 | _BYTES)),
        RECIPE_HINT, "compressed-tensors naive_quantized.py; transformers integrations/bitnet.py",
    ),
    Format(
        "scaled fp8 in blocks (DeepSeek)", ((".weight_scale_inv", None), (".weight", _FP8)),
        RECIPE_HINT, "DeepSeek-V3 inference/fp8_cast_bf16.py; transformers integrations/finegrained_fp8.py",
    ),
    Format(
        "scaled fp8 of expert stacks", (("_proj_scale_inv", None), ("_proj", _FP8)),
        DEQUANTISE_HINT, "transformers integrations/finegrained_fp8.py, FP8Expert",
    ),
    Format("scaled fp8 (ComfyUI)", ((".scale_weight", None), (".weight", _FP8)), ORIGINAL_HINT, "ComfyUI comfy/ops.py"),
    Format("quantised by ComfyUI", ((".comfy_quant", None), (".weight", None)), ORIGINAL_HINT, "ComfyUI comfy/ops.py"),
    Format(
        "MXFP4", (("_blocks", frozenset({"U8"})), ("_scales", frozenset({"U8", "F8_E8M0"}))),
        RECIPE_HINT,
        "transformers integrations/mxfp4.py: gate_up_proj_blocks, gate_up_proj_scales",
    ),
    Format("quanto", (("._data", _BYTES | _FP8), ("._scale", None)), DEQUANTISE_HINT, "optimum-quanto qbytes.py"),
    Format(
        "torchao", (("_qdata", None), ("_scale", None)), DEQUANTISE_HINT,
        "torchao prototype/safetensors: _weight_qdata, _weight_scale",
    ),
    Format("HQQ", ((".W_q", None), (".scale", None), (".zero", None)), DEQUANTISE_HINT, "hqq core/quantize.py"),
    Format("EETQ", ((".weight_scales", None), (".weight", _BYTES)), ORIGINAL_HINT, "EETQ modules/qlinear.py"),
    Format("AQLM", ((".codes", None), (".codebooks", None), (".scales", None)), ORIGINAL_HINT, "aqlm inference.py"),
    Format("QuIP#", ((".Qidxs", None), (".SU", None), (".SV", None)), ORIGINAL_HINT, "quip-sharp lib/linear"),
    Format("VPTQ", ((".indices", None), (".centroids.weight", None)), ORIGINAL_HINT, "vptq layers/vqlinear.py"),
    Format("EXL2", ((".q_weight", _WORDS), (".q_scale", None)), ORIGINAL_HINT, "exllamav2 linear.py"),
    Format("EXL3", ((".trellis", _WORDS), (".suh", None)), ORIGINAL_HINT, "exllamav3 modules/quant/exl3.py"),
    Format(
        "MLX", ((".weight", frozenset({"U32"})), (".scales", None)),
        "convert it by mlx_lm.convert --dequantize", "mlx nn/layers/quantized.py",
    ),
)  # fmt: skip
"""The first that fits is named."""

_MARK = "scaled_fp8"
"""A tensor that says so of the whole file. Source: ComfyUI comfy/model_detection.py."""
_BLOCK = "blk."
"""How llama.cpp names layers; bytes under such a name are blocks of a GGUF file. Source: gguf-py constants.py."""

CONFIGURATION_KEYS = ("quantization_config", "compression_config")
"""Keys of config.json under which libraries describe a quantised model, also in the part of one modality."""


def quantised_tensor(codes: Mapping[str, str]) -> tuple[str, Format] | None:
    """The first tensor, of names to dtypes, that is stored scaled or packed, with its format; None if all are plain."""
    for tensor, code in codes.items():
        if tensor.rpartition(".")[2] == _MARK:
            return tensor, Format("scaled fp8 (ComfyUI)", (), ORIGINAL_HINT, "")
        if tensor.startswith(_BLOCK) and code in _BYTES:
            return tensor, Format("blocks of a GGUF file", (), ORIGINAL_HINT, "")
    last = {tensor.rpartition(".")[2] for tensor in codes}
    for form in FORMATS:
        if not all(any(part.endswith(end.rpartition(".")[2]) for part in last) for end, _ in form.ends):
            continue
        (end, dtypes), *others = form.ends
        for tensor, code in codes.items():
            if not tensor.endswith(end) or (dtypes is not None and code not in dtypes):
                continue
            module = tensor[: -len(end)]
            if all(_is(codes.get(module + other), allowed) for other, allowed in others):
                return tensor, form
    return None


def quantisation_settings(config: Mapping[str, Any]) -> Iterator[Any]:
    """What a configuration says of quantisation: of the whole model, and of each part that has settings of its own."""
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        yield from (part[key] for key in CONFIGURATION_KEYS if part.get(key))


def _is(code: str | None, allowed: frozenset[str] | None) -> bool:
    return code is not None and (allowed is None or code in allowed)
