"""Attacks on adapters: settings that change what tensors mean, malformed factors, patterns that never end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeometry.errors import SourceError
from mergeometry.sources import Adapter, open_adapter
from tests.helpers.fuzz_targets import CASES

PREFIX = "base_model.model."
MODULE = "encoder.layer.0.attention.self.query"
PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}


def factors(module: str = MODULE, rank: int = 2, middle: str = "") -> dict[str, torch.Tensor]:
    return {
        f"{PREFIX}{module}.lora_A{middle}.weight": torch.ones(rank, 5),
        f"{PREFIX}{module}.lora_B{middle}.weight": torch.ones(3, rank),
    }


def write(folder: Path, config: dict[str, Any] | None = None, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | (config or {})))
    safetensors.torch.save_file(factors() if tensors is None else tensors, folder / "adapter_model.safetensors")
    return folder


def refused(folder: Path, words: str) -> SourceError:
    with pytest.raises(SourceError, match=words) as caught:
        open_adapter(folder, "the adapter")
    assert caught.value.model == "the adapter"
    assert len(str(caught.value)) < 4_000
    return caught.value


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "LOHA"}, "got 'LOHA'"),
        ({"peft_type": "IA3"}, "got 'IA3'"),
        ({"peft_type": None}, "got None"),
        ({"peft_type": ["LORA"]}, "type LORA"),
        ({"use_dora": True}, "no magnitude for each output"),
        ({"use_dora": True, "lora_bias": True}, "both use_dora and lora_bias"),
        ({"use_qalora": True}, "use_qalora"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora"),
        ({"lora_bias": 1}, "true or false for lora_bias"),
        ({"bias": "some"}, "none or all or lora_only for bias, got 'some'"),
        ({"bias": None}, "for bias, got None"),
        ({"target_parameters": ["self.query.one", "self.query.two"]}, "1 pairs of factors belong to 2 parameters"),
        ({"target_parameters": "a.b"}, "list of names"),
        ({"layer_replication": [[0, 4]]}, "layer_replication"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"trainable_token_indices": [0, 0]}, "numbers of tokens, each once"),
        ({"trainable_token_indices": [-1]}, "numbers of tokens"),
        ({"trainable_token_indices": {"emb": [True]}}, "numbers of tokens"),
        ({"trainable_token_indices": "all"}, "numbers of tokens"),
        ({"peft_type": "PREFIX_TUNING"}, "cannot be merged: it puts trained keys and values"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"arrow_config": {"top_k": 1}}, "arrow_config"),
        ({"kasa_config": {"beta": 1}}, "kasa_config"),
        ({"monteclora_config": {"n": 1}}, "monteclora_config"),
        ({"velora_config": {"n": 1}}, "velora_config"),
        ({"init_lora_weights": "pissa"}, "'pissa'"),
        ({"init_lora_weights": "pissa_niter_16"}, "'pissa_niter_16'"),
        ({"init_lora_weights": "olora"}, "'olora'"),
        ({"init_lora_weights": "corda"}, "'corda'"),
        ({"init_lora_weights": "loftq"}, "'loftq'"),
        ({"init_lora_weights": "lora_ga"}, "'lora_ga'"),
        ({"init_lora_weights": "next year's"}, "next year's"),
        ({"init_lora_weights": 1}, "init_lora_weights: 1"),
        ({"init_lora_weights": []}, "init_lora_weights"),
        ({"use_next_years_lora": True}, "'use_next_years_lora' is unknown"),
        ({"next_config": {"on": 1}}, "'next_config' is unknown"),
        ({"r": 0}, "whole number of at least 1 for r"),
        ({"r": -1}, "for r"),
        ({"r": True}, "for r"),
        ({"r": 2.0}, "for r"),
        ({"r": "2"}, "for r"),
        ({"r": None}, "for r"),
        ({"r": 10**30}, "for r"),
        ({"r": 4}, "rank 2, but the settings say 4"),
        ({"lora_alpha": "4"}, "finite number for lora_alpha"),
        ({"lora_alpha": True}, "for lora_alpha"),
        ({"lora_alpha": None}, "for lora_alpha"),
        ({"lora_alpha": 10**400}, "for lora_alpha"),
        ({"lora_alpha": 1e300}, "for lora_alpha"),
        ({"use_rslora": 1}, "true or false for use_rslora"),
        ({"fan_in_fan_out": "no"}, "true or false for fan_in_fan_out"),
        ({"modules_to_save": "classifier"}, "list of names or null"),
        ({"modules_to_save": [1]}, "list of names or null"),
        ({"modules_to_save": [""]}, "list of names or null"),
        ({"base_model_name_or_path": 1}, "string or null"),
        ({"rank_pattern": []}, None),
        ({"rank_pattern": ["a"]}, "map of patterns"),
        ({"rank_pattern": {"query": 0}}, "for rank_pattern"),
        ({"rank_pattern": {"query": 3}}, "rank 2, but the settings say 3"),
        ({"alpha_pattern": {"query": "x"}}, "for alpha_pattern"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern: .*missing \)"),
    ],
)
def test_settings(tmp_path: Path, config: dict[str, Any], words: str | None) -> None:
    write(tmp_path, config)
    if words is None:
        words = "map of patterns"
    refused(tmp_path, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"peft_type": "LORA", "lora_alpha": NaN}', "NaN"),
        (b'{"peft_type": "LORA", "lora_alpha": 1e999}', "finite number"),
        (b'{"peft_type": "LORA", "r": 2, "r": 3}', "'r' twice"),
        (b'{"peft_type": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "nested deeper"),
    ],
)
def test_settings_that_are_no_strict_json(tmp_path: Path, content: bytes, words: str) -> None:
    write(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(content)
    refused(tmp_path, words)


@pytest.mark.parametrize(
    "config",
    [
        {"init_lora_weights": None},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {
            "next_years_number": 16,
            "next_years_switch": False,
            "next_years_config": None,
            "megatron_core": "megatron.core",
        },
        {"rank_pattern": None, "alpha_pattern": {}, "modules_to_save": None, "layer_replication": None},
        {"auto_mapping": {"unsloth_fixed": True}},
    ],
)
def test_harmless_settings(tmp_path: Path, config: dict[str, Any]) -> None:
    assert open_adapter(write(tmp_path, config), "m").deltas[f"{MODULE}.weight"].scaling == 2


def without(key: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in factors().items() if key not in name}


E = f"{PREFIX}emb.lora_embedding_"
A, B = (f"{PREFIX}{MODULE}.lora_{factor}.weight" for factor in "AB")


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        ({}, {}, "holds no tensors"),
        (without("lora_B"), {}, f"lack their other factor: {MODULE} has A only"),
        (without("lora_A"), {}, f"lack their other factor: {MODULE} has B only"),
        (factors() | factors(middle=".default"), {}, "occurs twice"),
        (factors(middle=".one") | factors("other", middle=".two"), {}, "several adapters in one file: one, two"),
        (factors() | {f"{PREFIX}{MODULE}.weight": torch.ones(3, 5)}, {"modules_to_save": ["query"]}, "saved whole"),
        (factors() | {f"{PREFIX}x.weight": torch.ones(1)}, {}, r"not understood: base_model.model.x.weight"),
        (factors() | {"x.lora_A.weight": torch.ones(1)}, {}, r"not understood: x.lora_A.weight"),
        (factors() | {f"{PREFIX}{MODULE}.lora_magnitude_vector": torch.ones(3)}, {}, "not understood.*magnitude"),
        (factors() | {f"{PREFIX}{MODULE}.lora_B.bias": torch.ones(3)}, {}, r"not understood.*lora_B\.bias"),
        (factors() | {f"{PREFIX}{MODULE}.lora_diag": torch.ones(3)}, {}, "not understood.*lora_diag"),
        (factors() | {f"{PREFIX}e.token_adapter.trainable_tokens_delta": torch.ones(3)}, {}, "not understood"),
        (factors() | {f"{PREFIX}other.base_layer.weight": torch.ones(3)}, {}, "not understood: other.weight"),
        (factors("attn.base_layer.out_proj"), {}, "not understood"),
        (factors(MODULE) | {f"{PREFIX}{MODULE}.lora_embedding_{f}": torch.ones(2, 2) for f in "AB"}, {}, "as an embed"),
        ({A: torch.ones(2, 5, 3, 3), B: torch.ones(3, 2, 3, 3)}, {}, "not those of a convolution"),
        ({A: torch.ones(2, 5, 3, 3), B: torch.ones(3, 2)}, {}, "not those of a convolution"),
        ({A: torch.ones(2, 5, 1, 1, 1, 1), B: torch.ones(3, 2)}, {}, "6 dimensions"),
        (factors() | {f"{PREFIX}{MODULE}.lora_magnitude_vector": torch.ones(3, 2)}, {"use_dora": True}, "no magnitude"),
        (factors() | {f"{PREFIX}x.lora_magnitude_vector": torch.ones(3)}, {"use_dora": True}, "lack their factors: x"),
        (
            factors() | {f"{PREFIX}{MODULE}.lora_B.bias": torch.ones(3, 1)},
            {"lora_bias": True},
            r"bias of shape \(3, 1\)",
        ),
        (factors() | {f"{PREFIX}x.lora_B.bias": torch.ones(3)}, {"lora_bias": True}, "lack their factors: x"),
        (
            factors() | {f"{PREFIX}e.token_adapter.trainable_tokens_delta": torch.ones(3, 2)},
            {"trainable_token_indices": [1, 2]},
            r"the rows of 2 tokens have the shape \(3, 2\)",
        ),
        (
            factors() | {f"{PREFIX}{MODULE}.modules_to_save.a.b.bias": torch.ones(3)},
            {"bias": "all"},
            "not understood.*modules_to_save.a.b.bias",
        ),
        (
            factors() | {f"{PREFIX}{MODULE}.original_module.weight": torch.ones(3)},
            {},
            "not understood.*original_module",
        ),
        ({A: torch.ones(2, 5), B: torch.ones(3, 4)}, {}, "different ranks"),
        ({A: torch.ones(0, 5), B: torch.ones(3, 0)}, {}, "gather|shape"),
        ({A: torch.ones(10), B: torch.ones(3, 2)}, {}, "shape"),
        ({A: torch.ones(2, 5, dtype=torch.int8), B: torch.ones(3, 2)}, {}, "dtype I8"),
        ({f"{E}A": torch.ones(3, 7), f"{E}B": torch.ones(5, 3)}, {}, "rank 3, but the settings say 2"),
        ({f"{E}A": torch.ones(2, 7), f"{E}B": torch.ones(2, 5)}, {}, "different ranks"),
    ],
)
def test_tensors(tmp_path: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], words: str) -> None:
    refused(write(tmp_path, config, tensors), words)


def test_names_of_adapters_are_stripped(tmp_path: Path) -> None:
    saved = {f"{PREFIX}head.modules_to_save.default.bias": torch.ones(3), f"{PREFIX}head.out.weight": torch.ones(1)}
    adapter = open_adapter(write(tmp_path, {"modules_to_save": ["head"]}, factors(middle=".default") | saved), "m")
    assert set(adapter.deltas) == {f"{MODULE}.weight"}
    assert set(adapter.replaced) == {"head.bias", "head.out.weight"}


def test_an_adapter_without_weights(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    refused(tmp_path, "has no adapter_model.safetensors")


@pytest.mark.parametrize(("pattern", "scaling"), [("(a+)+$", 2), ("(a|aa)+b", 2), ("(.*)*x", 50)])
def test_a_hostile_pattern_does_not_hold_up_an_adapter(tmp_path: Path, pattern: str, scaling: float) -> None:
    module = "a" * 40 + ".x"
    write(tmp_path, {"alpha_pattern": {pattern: 100}}, factors(module))
    start = time.process_time()
    assert open_adapter(tmp_path, "m").deltas[f"{module}.weight"].scaling == scaling
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize(
    "patterns",
    [
        [f"x{number}" for number in range(60_000)],
        ["(a?){150}z" + f"{number}" for number in range(3_000)],
        ["." * 700 + f"x{number}" for number in range(4_000)],
        [f"(.a){{{number % 400}}}b{number}" for number in range(2_000)],
    ],
)
def test_many_patterns_together_cost_about_a_second(tmp_path: Path, patterns: list[str]) -> None:
    tensors = {name: tensor for number in range(40) for name, tensor in factors(".a" * 400 + f"{number}").items()}
    write(tmp_path, {"rank_pattern": dict.fromkeys(patterns, 2)}, tensors)
    start = time.process_time()
    refused(tmp_path, "takes too many steps")
    assert time.process_time() - start < 4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
KEYS = ["r", "lora_alpha", "rank_pattern", "alpha_pattern", "modules_to_save", "bias", "init_lora_weights", "use_dora"]


@settings(max_examples=CASES, deadline=2_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=8),
        json_values | st.dictionaries(st.text(max_size=8), st.integers(-1, 9), max_size=3),
        max_size=4,
    )
)
def test_no_settings_escape_the_error_tree(tmp_path: Path, config: dict[str, Any]) -> None:
    if not (tmp_path / "adapter_model.safetensors").exists():
        write(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN | config))
    try:
        assert isinstance(open_adapter(tmp_path, "m"), Adapter)
    except SourceError as error:
        assert error.model == "m"
