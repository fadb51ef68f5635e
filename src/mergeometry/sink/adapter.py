"""The output as a PEFT LoRA adapter: its tensors' names and shapes, and its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergeometry.errors import OutputError
from mergeometry.sink.layout import OutputTensor

PREFIX = "base_model.model."
"""What PEFT puts in front of the model's own names."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*")


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One module that the adapter changes by ``B A``: ``A`` is (rank, columns), ``B`` is (rows, rank).

    ``columns`` counts the layer's inputs and ``rows`` its outputs, even where its weight is stored transposed. The
    inputs of an embedding are its tokens. A convolution has a ``kernel``, which ``A`` shares.
    """

    name: str
    rank: int
    rows: int
    columns: int
    embedding: bool = False
    kernel: tuple[int, ...] = ()


def adapter_tensor_names(module: str, *, embedding: bool = False) -> tuple[str, str]:
    """Return the names of a module's ``A`` and ``B`` in the file."""
    if embedding:
        return f"{PREFIX}{module}.lora_embedding_A", f"{PREFIX}{module}.lora_embedding_B"
    return f"{PREFIX}{module}.lora_A.weight", f"{PREFIX}{module}.lora_B.weight"


def adapter_tensors(modules: Iterable[AdapterModule], code: str) -> list[OutputTensor]:
    """Return the tensors of the adapter's file, ``A`` then ``B`` for each module, for ``lay_out``."""
    tensors: list[OutputTensor] = []
    for module in modules:
        down, up = adapter_tensor_names(module.name, embedding=module.embedding)
        points = tuple(1 for _ in module.kernel)
        tensors.append(OutputTensor(down, code, (module.rank, module.columns, *module.kernel)))
        tensors.append(OutputTensor(up, code, (module.rows, module.rank, *points)))
    return tensors


def factor_bias_name(module: str) -> str:
    """Return the name of the bias that a module's ``B`` adds."""
    return f"{PREFIX}{module}.lora_B.bias"


def token_rows_name(module: str) -> str:
    """Return the name of the rows that a table's module has in place of the base's."""
    return f"{PREFIX}{module}.token_adapter.trainable_tokens_delta"


def adapter_config(
    modules: Sequence[AdapterModule],
    *,
    base_model: str,
    fan_in_fan_out: bool = False,
    saved: Sequence[str] = (),
    biases: bool = False,
    factor_biases: bool = False,
    tokens: Mapping[str, Sequence[int]] | None = None,
    task_type: str | None = None,
    auto_mapping: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return ``adapter_config.json`` for these modules, with alpha equal to the rank, so that each adds ``B A`` itself.

    ``saved`` are modules that the file holds whole, and ``tokens`` the rows of tables that it holds by their modules.
    With ``factor_biases`` each ``B`` has a bias, which PEFT takes of several adapters at once, unlike ``biases``.
    ``r`` is the largest rank, since vLLM takes it for all.

    Raises:
        OutputError: there are no modules, a rank is below 1, or PEFT would read a name as a pattern.
    """
    if not modules:
        raise OutputError("there is no module to write an adapter for")
    for module in modules:
        if module.rank < 1:
            raise OutputError(f"an adapter of rank {module.rank} cannot be written", tensor=module.name)
        if not _PLAIN_NAME.fullmatch(module.name):
            raise OutputError("PEFT would read the module's name as a pattern", tensor=module.name)
    ranks = {module.name: module.rank for module in modules}
    largest = max(ranks.values())
    # PEFT takes the first key that ends a module's name: the longer of two such names must come first.
    longest_first = sorted(ranks, key=lambda name: (-len(name), name))
    pattern = {name: ranks[name] for name in longest_first} if len(set(ranks.values())) > 1 else {}
    return {
        "peft_type": "LORA",
        "task_type": task_type,
        "auto_mapping": None if auto_mapping is None else dict(auto_mapping),
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": largest,
        "lora_alpha": largest,
        "rank_pattern": pattern,
        "alpha_pattern": dict(pattern),
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "bias": "all" if biases else "none",
        "fan_in_fan_out": fan_in_fan_out,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": sorted(saved) or None,
        **({"lora_bias": True} if factor_biases else {}),
        **({"trainable_token_indices": {module: list(rows) for module, rows in tokens.items()}} if tokens else {}),
    }
