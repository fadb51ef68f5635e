"""Which matrices a file stores as (inputs, outputs): the `Conv1D` layers of GPT-2 and its relatives.

Names alone do not tell: GPT-BigCode and Qwen 1 have linear layers of the same names. The bias of a layer counts its
outputs, so one layer that is not square shows the layout of its part; the configuration says it otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergeometry.conventions.configs import section_of

_TYPES = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"})
"""Types of models with `Conv1D` layers (transformers 5.23, `pytorch_utils.Conv1D` and its uses)."""
_MODULES = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})


class Layouts:
    """The layouts of one model's matrices, from the shapes of all its tensors and its configuration."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], config: Mapping[str, Any] | None) -> None:
        self._config = config
        self._shown: dict[str, bool] = {}
        for name, shape in shapes.items():
            part = _part_of(name)
            bias = shapes.get(f"{name.removesuffix('weight')}bias")
            if part is not None and bias is not None and len(shape) == 2 and shape[0] != shape[1] and len(bias) == 1:
                if bias[0] == shape[1]:
                    self._shown.setdefault(part, True)
                elif bias[0] == shape[0]:
                    self._shown[part] = False

    def is_transposed(self, name: str) -> bool:
        """Whether the file stores the matrix as (inputs, outputs)."""
        part = _part_of(name)
        if part is None:
            return False
        shown = self._shown.get(part)
        return section_of(name, self._config).get("model_type") in _TYPES if shown is None else shown

    def is_known(self, name: str) -> bool:
        """Whether anything says how the matrix is stored; without that, a square one may be either way round."""
        part = _part_of(name)
        return part is None or part in self._shown or "model_type" in section_of(name, self._config)


def _part_of(name: str) -> str | None:
    """The part of the model that a matrix of such a layer belongs to: what precedes the first number in its name."""
    parts = name.split(".")
    if len(parts) < 2 or parts[-1] != "weight" or parts[-2] not in _MODULES:
        return None
    numbers = (place for place, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[: next(numbers, len(parts) - 2)])
