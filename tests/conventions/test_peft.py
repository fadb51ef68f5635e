"""The tables of PEFT's settings agree with the installed PEFT."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from mergeometry.conventions import peft as conventions
from tests.helpers.peft_models import tiny_llama

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

SETTINGS = {
    "ADAPTION_PROMPT": {"target_modules": "self_attn", "adapter_len": 2, "adapter_layers": 1},
}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama(num_hidden_layers=1, use_cache=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted(conventions.UNMERGEABLE_KINDS.keys() - {"XLORA"}))
def test_peft_has_no_merged_model_of_a_kind_without_weights(kind: str, model: Any) -> None:
    configuration = peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    known = {field.name for field in dataclasses.fields(configuration)}
    given = {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "num_virtual_tokens": 2, **SETTINGS.get(kind, {})}
    config = configuration(**{name: value for name, value in given.items() if name in known})
    wrapped = peft.get_peft_model(copy.deepcopy(model), config)
    with pytest.raises((AttributeError, NotImplementedError)):
        wrapped.merge_and_unload()


def test_every_setting_of_lora_is_read_refused_or_harmless() -> None:
    known = conventions.READ_SETTINGS | conventions.HARMLESS_SETTINGS | conventions.REFUSED_SETTINGS.keys()
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} <= known
    # Its own name for what the file calls `alora_invocation_tokens`, in older versions.
    assert known - {field.name for field in dataclasses.fields(peft.LoraConfig)} <= {
        "token_indices", "init_weights", "use_alora",
    }  # fmt: skip


def test_every_kind_is_one_of_peft() -> None:
    assert conventions.READ_KINDS | conventions.UNMERGEABLE_KINDS.keys() <= set(peft.PEFT_TYPE_TO_CONFIG_MAPPING)
