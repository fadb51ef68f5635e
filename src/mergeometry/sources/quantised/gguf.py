"""GGUF files of llama.cpp, as models of a base that transformers writes.

The library of the format de-quantises the blocks. What is ours: the header, the names of transformers, and the rows of
the query and key projections of Llama, which llama.cpp stores with each head's rotary halves interleaved.
Sources: gguf-py constants.py and tensor_mapping.py; llama.cpp convert_hf_to_gguf.py, LlamaModel.permute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.deferred import Tensor, torch
from mergeometry.errors import SourceError
from mergeometry.sources.formed import Reads, formed
from mergeometry.sources.index import listing
from mergeometry.sources.quantised.gguf_header import Value, read_gguf_header
from mergeometry.sources.tensors import TensorInfo

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Mistral's files are called llama too."""
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INSIDE = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
_COMPUTED = ("rope_freqs.weight",)
_LAYER = re.compile(r"blk\.([0-9]+)\.([a-z_]+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of blocks of a GGUF type; a piece is some rows, or some heads where their rows are interleaved."""

    stored: TensorInfo
    kind: str
    columns: int
    row_bytes: int
    head: int = 0
    """Rows of one head, where its rotary halves are interleaved; else 0."""

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The blocks."""
        return (self.stored,)

    @property
    def held(self) -> int:
        """None beside the piece."""
        return 0

    @property
    def unit(self) -> int:
        """One row, or one head."""
        return self.columns * max(1, self.head)

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some rows."""
        from gguf import GGMLQuantizationType, quants  # noqa: PLC0415  (an extra)

        start, end = first // self.columns, last // self.columns
        raw = reader.read_range(self.stored, start * self.row_bytes, end * self.row_bytes)
        values = quants.dequantize(raw.numpy().reshape(end - start, self.row_bytes), GGMLQuantizationType[self.kind])
        rows = torch.from_numpy(values.copy()).reshape(end - start, self.columns)
        if self.head:
            rows = rows.reshape(-1, self.head // 2, 2, self.columns).transpose(1, 2).reshape(-1, self.columns)
        return rows


def open_gguf(path: Path) -> tuple[dict[str, TensorInfo], str]:
    """The tensors of a GGUF file under the names of transformers, and a note.

    Raises:
        SourceError: the library is missing, the file is malformed, or of a model whose names are not known.
    """
    try:
        import gguf  # noqa: PLC0415  (an extra)
    except ImportError as error:
        hint = "pip install 'mergeometry[gguf]'"
        raise SourceError("GGUF files need the gguf library", file=path, hint=hint) from error
    known = {int(kind): (int(block), int(size)) for kind, (block, size) in gguf.GGML_QUANT_SIZES.items()}
    settings, listed, stamp = read_gguf_header(path, known)
    architecture = settings.get("general.architecture")
    if architecture not in _ARCHITECTURES:
        raise SourceError(
            f"the names of GGUF files of {str(architecture)[:40]!r} are not known", file=path,
            hint=f"known: {', '.join(_ARCHITECTURES)}; de-quantise it to safetensors first",
        )  # fmt: skip
    if settings.get("split.count", 1) != 1:
        hint = "join its parts by `llama-gguf-split --merge` first"
        raise SourceError("the GGUF file is one part of several", file=path, hint=hint)
    heads = {
        "attn_q": _count(settings, f"{architecture}.attention.head_count", path),
        "attn_k": _count(settings, f"{architecture}.attention.head_count_kv", path),
    }
    tensors: dict[str, TensorInfo] = {}
    kinds: set[str] = set()
    for name, shape, number, start, nbytes in listed:
        if name in _COMPUTED:
            continue
        ours, kind = _named(name, path), gguf.GGMLQuantizationType(number).name
        block, size = known[number]
        if kind not in kinds:
            _check_readable(gguf, number, size, path, name)
        kinds.add(kind)
        module = name.split(".")[-2]
        head = 0
        if architecture == "llama" and module in heads and len(shape) == 2:
            head, rest = divmod(shape[0], heads[module])
            if rest or head % 2 or not head:
                what = f"{shape[0]:,} rows are not {heads[module]:,} heads with rotary halves"
                raise SourceError(what, file=path, tensor=name)
        stored = TensorInfo(name, "U8", (nbytes,), path, start, nbytes, stamp)
        tensors[ours] = formed(ours, shape, "F32", Blocks(stored, kind, shape[-1], shape[-1] // block * size, head))
    return tensors, f"{len(tensors)} weights de-quantised from GGUF ({', '.join(sorted(kinds))})"


def _check_readable(gguf: Any, kind: int, size: int, path: Path, tensor: str) -> None:
    import numpy as np  # noqa: PLC0415  (which the format's library has loaded)

    try:
        gguf.quants.dequantize(np.zeros((1, size), np.uint8), gguf.GGMLQuantizationType(kind))
    except NotImplementedError as error:
        what = f"the type {gguf.GGMLQuantizationType(kind).name} is not de-quantised by the gguf library"
        raise SourceError(what, file=path, tensor=tensor) from error


def _named(name: str, path: Path) -> str:
    module, _, end = name.rpartition(".")
    if module in _OUTSIDE:
        return f"{_OUTSIDE[module]}.{end}"
    match = _LAYER.fullmatch(name)
    if match is None or match[2] not in _INSIDE:
        raise SourceError(
            "transformers' name of the tensor is not known", file=path, tensor=name[: limits.NAME_CHARACTERS],
            hint=f"known are dense layers: {listing(list(_INSIDE))}",
        )  # fmt: skip
    return f"model.layers.{match[1]}.{_INSIDE[match[2]]}.{match[3]}"


def _count(settings: dict[str, Value], key: str, path: Path) -> int:
    count = settings.get(key)
    if type(count) is not int or count < 1:
        raise SourceError(f"the GGUF file is malformed: {key} must be a number of heads", file=path)
    return count
