"""Reads an adapter's `adapter_config.json` and refuses every setting that changes the meaning of its tensors."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.errors import SourceError
from mergeometry.sources.expression import PatternError
from mergeometry.sources.files import read_small
from mergeometry.sources.patterns import PatternTable
from mergeometry.sources.strict_json import parse_object

CONFIG_FILE = "adapter_config.json"

MERGE_HINT = "merge it into its base with peft's merge_and_unload, save that, and give that folder as a full model"

_DEFAULT_RANK = 8
_DEFAULT_ALPHA = 8
_LARGEST_ALPHA = 1e30

_UNTOUCHED_BASE = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
"""Values of init_lora_weights that leave the base's weight as it was, so that B A is the whole update."""

_REFUSED = {
    "use_dora": "DoRA scales the whole weight, base included, so the update is not B A",
    "use_qalora": "QA-LoRA pools the input, so the update is not B A",
    "use_bdlora": "its factors are block diagonal",
    "use_alora": "it acts on some tokens only",
    "alora_invocation_tokens": "it acts on some tokens only",
    "arrow_config": "it routes among several adapters",
    "kasa_config": "KaSA truncates the base's weight",
    "monteclora_config": "its factors are random variables",
    "velora_config": "its factors are not those of LoRA",
    "lora_bias": "it trains biases as well as the factors",
    "target_parameters": "adapters of bare parameters (experts) are not read",
    "layer_replication": "it changes the number of layers",
    "megatron_config": "Megatron's parallel layers are not read",
    "trainable_token_indices": "single rows of an embedding are not read",
    "ensure_weight_tying": "adapters of tied layers are not read",
}
"""Settings that make an adapter something other than `W + scaling B A`, each with its reason."""

_HARMLESS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core",
    "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision",
    "runtime_config", "target_modules", "task_type", "use_rslora",
}  # fmt: skip


@dataclass(frozen=True)
class AdapterConfig:
    """The settings that say what an adapter's tensors mean."""

    file: Path
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    fan_in_fan_out: bool
    modules_to_save: tuple[str, ...]
    base_name: str | None
    values: Mapping[str, Any]


class ScalingTable:
    """The rank and the scaling of each module of an adapter, patterns included."""

    def __init__(self, config: AdapterConfig) -> None:
        self._config = config
        self._ranks = PatternTable(config.rank_pattern)
        self._alphas = PatternTable(config.alpha_pattern)

    def rank(self, module: str) -> int:
        """Return the rank that the settings give the module; SourceError if a pattern is not understood."""
        pattern = self._first("rank_pattern", self._ranks, module)
        return self._config.rank if pattern is None else self._config.rank_pattern[pattern]

    def scaling(self, module: str, rank: int) -> float:
        """Return what B A is multiplied by; SourceError if that is not finite or a pattern is not understood."""
        pattern = self._first("alpha_pattern", self._alphas, module)
        alpha = self._config.alpha if pattern is None else self._config.alpha_pattern[pattern]
        scaling = alpha / (math.sqrt(rank) if self._config.rank_stabilised else rank)
        if not math.isfinite(scaling):
            raise SourceError(f"the scaling of the module {module!r} is not finite", file=self._config.file)
        return scaling

    def _first(self, key: str, table: PatternTable, module: str) -> str | None:
        try:
            return table.first(module)
        except PatternError as error:
            raise SourceError(
                f"{key}: {error}",
                file=self._config.file,
                hint="write the modules' full names in place of the pattern",
            ) from error


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read and validate a folder's adapter_config.json.

    Raises:
        SourceError: the adapter is not plain LoRA, or a value is malformed; the error names the setting.
    """
    file = folder / CONFIG_FILE
    raw = read_small(file, folder, limits.JSON_BYTES, CONFIG_FILE)
    values = parse_object(raw, file, CONFIG_FILE, nesting=limits.JSON_NESTING)
    kind = values.get("peft_type")
    if kind != "LORA":
        raise SourceError(
            f"expected an adapter of type LORA, got {reprlib.repr(kind)}",
            file=file,
            hint=MERGE_HINT,
        )
    _check_plain(values, file)
    fields = _Fields(values, file)
    return AdapterConfig(
        file=file,
        rank=fields.rank("r", values.get("r", _DEFAULT_RANK)),
        alpha=fields.number("lora_alpha", values.get("lora_alpha", _DEFAULT_ALPHA)),
        rank_pattern={name: fields.rank("rank_pattern", value) for name, value in fields.table("rank_pattern").items()},
        alpha_pattern={
            name: fields.number("alpha_pattern", value) for name, value in fields.table("alpha_pattern").items()
        },
        rank_stabilised=fields.flag("use_rslora"),
        fan_in_fan_out=fields.flag("fan_in_fan_out"),
        modules_to_save=fields.names("modules_to_save"),
        base_name=fields.text("base_model_name_or_path"),
        values=values,
    )


def _check_plain(values: Mapping[str, Any], file: Path) -> None:
    for key, reason in _REFUSED.items():
        if values.get(key):
            raise SourceError(f"the adapter uses {key}: {reason}", file=file, hint=MERGE_HINT)
    if values.get("bias", "none") != "none":
        raise SourceError(
            f"the adapter trains biases (bias: {reprlib.repr(values['bias'])}); they are not read",
            file=file,
            hint=MERGE_HINT,
        )
    start = values.get("init_lora_weights", True)
    if not isinstance(start, bool | str | None) or start not in _UNTOUCHED_BASE:
        raise SourceError(
            f"the adapter was started with init_lora_weights: {reprlib.repr(start)}, which changes the base's weights "
            "or is unknown, so B A is not its update of the base",
            file=file,
            hint="save it again with path_initial_model_for_weight_conversion, which makes it a plain LoRA",
        )
    for key, value in values.items():
        # A number or an empty value is a newer version's default; a switch that is on may change what tensors mean.
        if (
            key not in _HARMLESS
            and key not in _REFUSED
            and (value is True or (isinstance(value, str | list | dict) and value))
        ):
            raise SourceError(
                f"the setting {reprlib.repr(key)} is unknown and is set; it may change what the tensors mean",
                file=file,
                hint=MERGE_HINT,
            )


class _Fields:
    """Typed access to the settings; each mistake is an error that names the setting."""

    def __init__(self, values: Mapping[str, Any], file: Path) -> None:
        self._values, self._file = values, file

    def flag(self, key: str) -> bool:
        value = self._values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._expected(key, "true or false", value)
        return bool(value)

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._expected(key, "a string or null", value)
        return value

    def names(self, key: str) -> tuple[str, ...]:
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise self._expected(key, "a list of names or null", value)
        return tuple(value)

    def table(self, key: str) -> Mapping[str, Any]:
        value = self._values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self._expected(key, "a map of patterns to numbers", value)
        return value or {}

    def rank(self, key: str, value: Any) -> int:
        if type(value) is not int or not 0 < value < 1 << 31:
            raise self._expected(key, "a whole number of at least 1", value)
        return value

    def number(self, key: str, value: Any) -> float:
        # Written so that NaN fails too, and integers too large for a float never become one.
        if type(value) not in (int, float) or not abs(value) <= _LARGEST_ALPHA:
            raise self._expected(key, "a finite number", value)
        return float(value)

    def _expected(self, key: str, what: str, value: Any) -> SourceError:
        return SourceError(f"expected {what} for {key}, got {reprlib.repr(value)}", file=self._file)
