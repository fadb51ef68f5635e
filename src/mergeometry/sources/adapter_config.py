"""Reads an adapter's `adapter_config.json` and refuses every setting under which its tensors are not understood."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.conventions.peft import (
    HARMLESS_SETTINGS,
    MERGE_HINT,
    NO_WEIGHTS_HINT,
    READ_KINDS,
    READ_SETTINGS,
    REFUSED_SETTINGS,
    UNMERGEABLE_KINDS,
    UNTOUCHED_BASE,
)
from mergeometry.errors import SourceError
from mergeometry.sources.expression import PatternError
from mergeometry.sources.fields import Fields
from mergeometry.sources.files import read_small
from mergeometry.sources.patterns import PatternTable
from mergeometry.strict_json import parse_object

CONFIG_FILE = "adapter_config.json"

_DEFAULT_RANK = 8
_DEFAULT_ALPHA = 8


@dataclass(frozen=True)
class AdapterConfig:
    """The settings that say what an adapter's tensors mean."""

    file: Path
    kind: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    fan_in_fan_out: bool
    dora: bool
    factors_have_biases: bool
    biases_saved: bool
    modules_to_save: tuple[str, ...]
    target_parameters: tuple[str, ...]
    tokens: tuple[int, ...] | Mapping[str, tuple[int, ...]]
    task_type: str | None
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
    if isinstance(kind, str) and kind in UNMERGEABLE_KINDS:
        raise SourceError(
            f"an adapter of type {kind} cannot be merged: {UNMERGEABLE_KINDS[kind]}", file=file, hint=NO_WEIGHTS_HINT
        )
    if not isinstance(kind, str) or kind not in READ_KINDS:
        raise SourceError(
            f"expected an adapter of type LORA, got {reprlib.repr(kind)}",
            file=file,
            hint=MERGE_HINT,
        )
    return adapter_config_of(values, file)


def adapter_config_of(values: Mapping[str, Any], file: Path) -> AdapterConfig:
    """Validate the settings of a LoRA, wherever they stand; SourceError names the setting that is not understood."""
    kind = str(values.get("peft_type"))
    _check_plain(values, file)
    fields = Fields(values, file)
    return AdapterConfig(
        file=file,
        kind=kind,
        rank=fields.rank("r", values.get("r", _DEFAULT_RANK)),
        alpha=fields.number("lora_alpha", values.get("lora_alpha", _DEFAULT_ALPHA)),
        rank_pattern={name: fields.rank("rank_pattern", value) for name, value in fields.table("rank_pattern").items()},
        alpha_pattern={
            name: fields.number("alpha_pattern", value) for name, value in fields.table("alpha_pattern").items()
        },
        rank_stabilised=fields.flag("use_rslora"),
        fan_in_fan_out=fields.flag("fan_in_fan_out"),
        dora=fields.flag("use_dora"),
        factors_have_biases=fields.flag("lora_bias"),
        biases_saved=fields.choice("bias", ("none", "all", "lora_only")) != "none",
        modules_to_save=fields.names("modules_to_save"),
        target_parameters=fields.names("target_parameters"),
        tokens=fields.tokens("token_indices" if kind == "TRAINABLE_TOKENS" else "trainable_token_indices"),
        task_type=fields.text("task_type"),
        base_name=fields.text("base_model_name_or_path"),
        values=values,
    )


def _check_plain(values: Mapping[str, Any], file: Path) -> None:
    for key, (reason, hint) in REFUSED_SETTINGS.items():
        if values.get(key):
            raise SourceError(f"the adapter uses {key}: {reason}", file=file, hint=hint)
    if values.get("use_dora") and values.get("lora_bias"):
        raise SourceError("the adapter uses both use_dora and lora_bias", file=file, hint=MERGE_HINT)
    start = values.get("init_lora_weights", True)
    if not isinstance(start, bool | str | None) or start not in UNTOUCHED_BASE:
        raise SourceError(
            f"the adapter was started with init_lora_weights: {reprlib.repr(start)}, which changes the base's weights "
            "or is unknown, so B A is not its update of the base",
            file=file,
            hint="save it again with path_initial_model_for_weight_conversion, which makes it a plain LoRA",
        )
    for key, value in values.items():
        # A number or an empty value is a newer version's default; a switch that is on may change what tensors mean.
        if (
            key not in HARMLESS_SETTINGS
            and key not in READ_SETTINGS
            and (value is True or (isinstance(value, str | list | dict) and value))
        ):
            raise SourceError(
                f"the setting {reprlib.repr(key)} is unknown and is set; it may change what the tensors mean",
                file=file,
                hint=MERGE_HINT,
            )
