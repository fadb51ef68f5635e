"""Tensors that hold the matrices of all experts of a layer, one expert after another.

A model's weights may be written with a tensor per expert, or with all experts stacked in one: transformers 5 stacks in
memory what it reads from a tensor per expert, and some models are stored stacked. Both hold the same matrices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = Sequence[int]

_HALVES = ("gate", "up")


@dataclass(frozen=True, slots=True)
class Stack:
    """The matrices of one stacked tensor, in the order in which they lie in the file."""

    experts: int
    rows: int
    """Rows of one matrix as it is stored: of one part, where an expert has several."""
    columns: int
    transposed: bool
    """Whether a matrix is stored as (inputs, outputs)."""
    parts: tuple[str, ...] = ()
    """Names of the matrices whose rows are stored together as one expert's; empty for a single matrix."""

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs) of one matrix."""
        return (self.columns, self.rows) if self.transposed else (self.rows, self.columns)

    @property
    def count(self) -> int:
        """How many matrices there are."""
        return self.experts * max(1, len(self.parts))

    def suffix(self, place: int) -> str:
        """What tells the matrix at this place from the others of its tensor."""
        if not self.parts:
            return f"[{place}]"
        expert, part = divmod(place, len(self.parts))
        return f"[{expert}].{self.parts[part]}"


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two tensors of one module: the maps into the experts' hidden layers, and the maps out of them."""

    into: str
    out: str
    fused: bool = True
    """Whether ``into`` holds the gate's and the up projection's matrix of each expert."""
    interleaved: bool = False
    """Whether these two alternate row by row, so that neither is contiguous."""
    transposed: bool | None = None
    """The orientation, where the shapes of the two do not show it."""


# Names: the parameters of the modelling files in transformers 5, and the files' names in its conversion_mapping.py.
_PAIRS = (
    # mixtral, qwen2_moe and their kin in memory, qwen3_5_moe, gemma4; llama4, gpt_oss, aria, qwen3_vl_moe transposed.
    _Pair("experts.gate_up_proj", "experts.down_proj"),
    # nemotron_h: experts without a gate.
    _Pair("experts.up_proj", "experts.down_proj", fused=False, transposed=False),
    _Pair("experts.gate_and_up_projs", "experts.down_projs", fused=False, transposed=True),
    # aria in files: transposed.
    _Pair("experts.fc1.weight", "experts.fc2.weight"),
    # granitemoe and its kin in files; jetmoe, whose attention has experts without a gate.
    _Pair("input_linear.weight", "output_linear.weight"),
    _Pair("input_linear.weight", "output_linear.weight", fused=False, transposed=False),
    # inkling in files.
    _Pair("experts.w13_weight", "experts.w2_weight", interleaved=True),
)

_FLAT = {"experts.mlp.w1": False, "experts.mlp.v1": False, "experts.mlp.w2": True}
"""Dbrx: all experts' rows in one matrix, whose number only the configuration says; whether they are transposed."""


def stacked(name: str, shapes: Mapping[str, Shape], config: Mapping[str, Any] | None) -> Stack | None:
    """The matrices that a tensor of a model holds; None where it holds no stacked experts, or its layout is unknown.

    ``shapes`` are those of all tensors of the model. Which way the matrices lie follows from the shapes of the maps
    into the experts and out of them: of a gate and an up projection of i rows each, (2i, h) and (h, i), or (h, 2i)
    and (i, h).
    """
    shape = tuple(shapes[name])
    if 0 in shape:
        return None
    if len(shape) == 2:
        return _flat(name, shape, config or {})
    if len(shape) != 3:
        return None
    for pair in _PAIRS:
        for ending, other, into in ((pair.into, pair.out, True), (pair.out, pair.into, False)):
            if not name.endswith(f".{ending}"):
                continue
            sibling = tuple(shapes.get(name.removesuffix(ending) + other, ()))
            first, second = (shape, sibling) if into else (sibling, shape)
            if len(sibling) == 3 and (transposed := _orientation(pair, first, second)) is not None:
                halved = into and pair.fused and not pair.interleaved and not transposed
                rows = shape[1] // 2 if halved else shape[1]
                return Stack(shape[0], rows, shape[2], transposed, _HALVES if halved else ())
    return None


def _orientation(pair: _Pair, into: tuple[int, ...], out: tuple[int, ...]) -> bool | None:
    """Whether matrices are stored as (inputs, outputs); None where the two tensors do not belong together."""
    (count, first, second), (others, third, fourth) = into, out
    times = 2 if pair.fused else 1
    if count != others:
        return None
    plain, transposed = (first, second) == (times * fourth, third), (first, second) == (fourth, times * third)
    if plain and transposed:
        return pair.transposed
    return transposed if plain or transposed else None


def _flat(name: str, shape: tuple[int, ...], config: Mapping[str, Any]) -> Stack | None:
    transposed = next((turned for ending, turned in _FLAT.items() if name.endswith(f".{ending}")), None)
    layer = config.get("ffn_config")
    experts = layer.get("moe_num_experts") if isinstance(layer, Mapping) else None
    if transposed is None or type(experts) is not int or experts < 1 or shape[0] % experts:
        return None
    return Stack(experts, shape[0] // experts, shape[1], transposed)


_ALONE = re.compile(r"(?P<module>.+)\.(?P<expert>\d{1,5})\.(?P<matrix>w[123]|gate_proj|up_proj|down_proj)\.weight")


def alone(name: str) -> tuple[str, int, str] | None:
    """The module, the number and the matrix of an expert that is stored by itself; None for every other tensor.

    Mixtral calls gate, down and up projection `w1`, `w2` and `w3`.
    """
    match = _ALONE.fullmatch(name)
    if match is None or match["module"].rpartition(".")[2] != "experts":
        return None
    return match["module"], int(match["expert"]), match["matrix"]
