"""Mixtures of experts that dense models can be put together to: names of their tensors, keys of their configurations.

| layout | class | dense models | experts of a layer | gate | beside them |
| --- | --- | --- | --- | --- | --- |
| `mixtral` | MixtralForCausalLM | Llama, Mistral | `block_sparse_moe.experts.E.w1` (gate), `w2` (down), `w3` (up) | `block_sparse_moe.gate` | |
| `qwen2_moe` | Qwen2MoeForCausalLM | Qwen 2, Llama, Mistral | `mlp.experts.E.gate_proj`, ... | `mlp.gate` | `mlp.shared_expert`, `mlp.shared_expert_gate` |
| `qwen3_moe` | Qwen3MoeForCausalLM | Qwen 3 | `mlp.experts.E.gate_proj`, ... | `mlp.gate` | |

Source: the configuration and modelling files of Transformers 5.23; the names are those of files that its versions 4 and 5
both read.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MATRICES = ("gate_proj", "up_proj", "down_proj")
"""The matrices of a dense MLP: into its hidden layer by a gate and by a plain projection, and out of it."""
RESIDUAL = "down_proj"
"""The one whose output is added to what passes by."""
QKV_BIASES = ("q_proj", "k_proj", "v_proj")

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"rms_norm_eps": 1e-6, "hidden_act": "silu", "intermediate_size": 11008, "vocab_size": 32000},
    "mistral": {"rms_norm_eps": 1e-6, "hidden_act": "silu", "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"rms_norm_eps": 1e-6, "hidden_act": "silu", "num_key_value_heads": 32, "use_sliding_window": False},
    "qwen3": {"rms_norm_eps": 1e-6, "hidden_act": "silu", "num_key_value_heads": 32, "use_sliding_window": False},
}
"""What an absent key means in a dense model, where it may mean something else in the mixture."""


@dataclass(frozen=True, slots=True)
class MixtureLayout:
    """One kind of mixture; names follow a layer's number, ``{expert}`` and ``{matrix}`` stand for what they say."""

    name: str
    architecture: str
    dense: frozenset[str]
    """Types of the dense models that it is made from."""
    experts: Mapping[str, str]
    """The name of each matrix of an expert."""
    router: str
    counts: str
    """The key that counts the experts."""
    shared: str | None = None
    """The name of the matrices of the expert that every token passes; None where there is none."""
    shared_gate: str | None = None
    biased: bool = False
    """Whether queries, keys and values have biases, zero where the dense model has none."""

    def settings(self, config: Mapping[str, Any], experts: int, per_token: int) -> dict[str, Any]:
        """The keys of a dense model's configuration that differ for the mixture.

        Raises:
            ValueError: the model's layers have windows, which the mixture's would not have alike.
        """
        kind = str(config.get("model_type"))
        windows = config.get("use_sliding_window") if kind.startswith("qwen") else config.get("sliding_window")
        if windows and self.name != "mixtral":
            raise ValueError(f"the model uses a sliding window, which the layout {self.name} gives to other layers")
        plain = {key: value for key, value in _DEFAULTS[kind].items() if config.get(key) is None and key not in config}
        if kind == "llama" and config.get("num_key_value_heads") is None:
            plain["num_key_value_heads"] = config.get("num_attention_heads")
        if "rope_theta" not in config and "rope_parameters" not in config:
            plain["rope_theta"] = 10000.0
        own: dict[str, Any] = {self.counts: experts, "num_experts_per_tok": per_token}
        if self.name != "mixtral":
            width = config.get("intermediate_size", plain.get("intermediate_size"))
            own |= {
                "norm_topk_prob": True,
                "decoder_sparse_step": 1,
                "mlp_only_layers": [],
                "moe_intermediate_size": width,
            }
        if self.shared is not None:
            own["shared_expert_intermediate_size"] = own["moe_intermediate_size"]
            own["use_sliding_window"] = False
        return {**plain, **own, "model_type": self.name, "architectures": [self.architecture]}


_BY_NAME = {matrix: f"mlp.experts.{{expert}}.{matrix}.weight" for matrix in MATRICES}

LAYOUTS = {
    layout.name: layout
    for layout in (
        MixtureLayout(
            "mixtral", "MixtralForCausalLM", frozenset({"llama", "mistral"}),
            {matrix: f"block_sparse_moe.experts.{{expert}}.{name}.weight"
             for matrix, name in zip(MATRICES, ("w1", "w3", "w2"), strict=True)},
            "block_sparse_moe.gate.weight", "num_local_experts",
        ),
        MixtureLayout(
            "qwen2_moe", "Qwen2MoeForCausalLM", frozenset({"qwen2", "llama", "mistral"}), _BY_NAME, "mlp.gate.weight",
            "num_experts", "mlp.shared_expert.{matrix}.weight", "mlp.shared_expert_gate.weight", biased=True,
        ),
        MixtureLayout(
            "qwen3_moe", "Qwen3MoeForCausalLM", frozenset({"qwen3"}), _BY_NAME, "mlp.gate.weight", "num_experts",
        ),
    )
}  # fmt: skip


def layout_for(model_type: object, wanted: str, *, shared: bool) -> MixtureLayout:
    """The layout of a mixture of dense models of this type, the one that is wanted or the first that fits.

    Raises:
        ValueError: no layout fits; the message says which there are.
    """
    candidates = [LAYOUTS[wanted]] if wanted != "auto" else list(LAYOUTS.values())
    fitting = [layout for layout in candidates if model_type in layout.dense]
    if not fitting:
        known = "; ".join(f"{layout.name} of {', '.join(sorted(layout.dense))}" for layout in candidates)
        raise ValueError(f"a model of type {model_type!r} cannot become a mixture here: {known}")
    for layout in fitting:
        if (layout.shared is not None) == shared:
            return layout
    if shared:
        raise ValueError(f"the layout {fitting[0].name} has no shared expert: leave `shared_expert` out")
    raise ValueError(
        f"in the layout {fitting[0].name} every token passes one expert: name it in `shared_expert`, such as the base"
    )
