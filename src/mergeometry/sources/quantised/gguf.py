"""GGUF files of llama.cpp, as models of a base that transformers writes.

The library of the format reads the header and de-quantises the blocks. What is ours: the names of transformers, and the
rows of the query and key projections of Llama, which llama.cpp stores with each head's rotary halves interleaved.
Sources: gguf-py constants.py and tensor_mapping.py; llama.cpp convert_hf_to_gguf.py, LlamaModel.permute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.deferred import Tensor, torch
from mergeometry.errors import SourceError
from mergeometry.sources.files import opened
from mergeometry.sources.formed import Reads, formed
from mergeometry.sources.index import listing
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
_MALFORMED = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError,
    MemoryError,
)  # fmt: skip
"""What the library raises on bytes that are no file of its format."""
_LAYER = re.compile(r"blk\.(\d+)\.([a-z_]+)\.(weight|bias)")


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
    with opened(path, None) as (_, stamp):
        pass
    try:
        reader = gguf.GGUFReader(path)
        architecture = str(_field(reader, "general.architecture"))
        queries, pairs = (_count(reader, architecture, key) for key in ("head_count", "head_count_kv"))
        listed = [_listed(tensor) for tensor in reader.tensors]
        sizes = {kind.name: (int(block), int(size)) for kind, (block, size) in gguf.GGML_QUANT_SIZES.items()}
    except _MALFORMED as error:
        raise SourceError(f"the GGUF file is malformed: {type(error).__name__}", file=path) from error
    heads = {"attn_q": queries, "attn_k": pairs}
    if architecture not in _ARCHITECTURES:
        raise SourceError(
            f"the names of GGUF files of {architecture[:40]!r} are not known", file=path,
            hint=f"known: {', '.join(_ARCHITECTURES)}; de-quantise it to safetensors first",
        )  # fmt: skip
    tensors: dict[str, TensorInfo] = {}
    for name, kind, shape, start, nbytes in listed[: limits.TENSORS_PER_FILE]:
        if name in _COMPUTED:
            continue
        block, size = sizes[kind]
        if not shape or shape[-1] % block or prod(shape) // block * size != nbytes or start + nbytes > stamp.size:
            raise SourceError("the tensor's blocks do not fit its shape or the file", file=path, tensor=name)
        stored = TensorInfo(name, "U8", (nbytes,), path, start, nbytes, stamp)
        module = name.split(".")[-2]
        head = shape[0] // heads[module] if architecture == "llama" and module in heads and len(shape) == 2 else 0
        form = Blocks(stored, kind, shape[-1], shape[-1] // block * size, head)
        tensors[_named(name, path)] = formed(_named(name, path), shape, "F32", form)
    kinds = sorted({kind for name, kind, *_ in listed if name not in _COMPUTED})
    return tensors, f"{len(tensors)} weights de-quantised from GGUF ({', '.join(kinds)})"


def _listed(tensor: Any) -> tuple[str, str, tuple[int, ...], int, int]:
    """A tensor's name, type, shape, place in the file, and bytes."""
    shape = tuple(int(side) for side in reversed(tensor.shape))
    return str(tensor.name), str(tensor.tensor_type.name), shape, int(tensor.data_offset), int(tensor.n_bytes)


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


def _field(reader: Any, key: str) -> Any:
    return reader.fields[key].contents()


def _count(reader: Any, architecture: str, key: str) -> int:
    count = int(_field(reader, f"{architecture}.attention.{key}"))
    if count < 1:
        raise ValueError(key)
    return count
