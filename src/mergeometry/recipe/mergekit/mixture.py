"""mergekit-moe's recipes of mixtures, in our own form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergeometry.errors import RecipeError
from mergeometry.words import nearest

_KEYS = {"base_model": "base", "experts_per_token": "experts_per_token"}
_EXPERT_KEYS = {
    "positive_prompts": "prompts",
    "negative_prompts": "negative_prompts",
    "noise_scale": "noise",
    "residual_scale": "residual_scale",
}
_GATES = {"hidden": "hidden", "hidden_last": "hidden", "hidden_avg": "hidden_average"}
_ARCHITECTURES = {"mixtral": "mixtral", "qwen moe": "qwen2_moe", "qwen3 moe": "qwen3_moe"}
_TOP = frozenset({*_KEYS, "experts", "gate_mode", "dtype", "shared_experts", "architecture"})


def from_mergekit(given: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    """mergekit-moe's recipe in our own form; absent keys, and those that are null, are left out.

    Raises:
        RecipeError: a key is unknown, or says what no mixture here can be.
    """
    given = {key: value for key, value in given.items() if value is not None}
    _refuse_unknown("", given, _TOP, file)
    recipe: dict[str, Any] = {ours: given[theirs] for theirs, ours in _KEYS.items() if theirs in given}
    recipe["gate"] = _GATES.get(given.get("gate_mode", "hidden"), given.get("gate_mode"))
    experts = given.get("experts")
    recipe["experts"] = [
        _expert(f"experts.{place}", one, file) for place, one in enumerate(_list("experts", experts, file))
    ]
    shared = _list("shared_experts", given.get("shared_experts", []), file)
    if len(shared) > 1:
        raise RecipeError("shared_experts: no layout has more than one", file=file)
    if shared:
        recipe["shared_expert"] = _expert("shared_experts.0", shared[0], file)
    if "dtype" in given:
        recipe["output"] = {"dtype": str(given["dtype"]).removeprefix("torch.")}
    if "architecture" in given:
        wanted = str(given["architecture"]).lower()
        fitting = [ours for theirs, ours in _ARCHITECTURES.items() if wanted and theirs.startswith(wanted)]
        if not fitting:
            hint = (
                "DeepSeek's needs code that transformers does not have" if "deepseek".startswith(wanted[:8]) else None
            )
            raise RecipeError(
                f"architecture: {given['architecture']!r} is not one of mixtral, qwen, qwen3", file=file, hint=hint
            )
        recipe["layout"] = fitting[0]
    return recipe


def _expert(where: str, given: Any, file: Path | None) -> dict[str, Any]:
    if not isinstance(given, Mapping) or "source_model" not in given:
        raise RecipeError(f"'{where}.source_model' is missing", file=file)
    given = {key: value for key, value in given.items() if value is not None}
    _refuse_unknown(f"{where}.", given, {"source_model", *_EXPERT_KEYS}, file)
    return {"path": given["source_model"], **{ours: given[key] for key, ours in _EXPERT_KEYS.items() if key in given}}


def _list(key: str, value: Any, file: Path | None) -> list[Any]:
    if not isinstance(value, list):
        raise RecipeError(f"{key}: a list is needed", file=file)
    return value


def _refuse_unknown(where: str, given: Mapping[str, Any], known: set[str] | frozenset[str], file: Path | None) -> None:
    for key in given:
        if key not in known:
            raise RecipeError(f"unknown key '{where}{key}'{nearest(str(key), sorted(known))}", file=file)
