"""Which adapters vLLM loads, by its own checks: `lora/peft_helper.py`, `lora/utils.py`, `config/lora.py` of vLLM 0.26.

It takes `r` and `lora_alpha` for all modules, whatever the patterns say, so that an adapter with patterns is right only
where each module's scale is the same; those that a merge writes all have the scale 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of `--max-lora-rank`."""

_FACTORS = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")


def max_lora_rank(rank: int) -> int | None:
    """The least `--max-lora-rank` under which vLLM takes an adapter of this rank; None where there is none."""
    return next((allowed for allowed in RANKS if rank <= allowed), None)


def refusals(config: Mapping[str, Any], tensors: Iterable[str]) -> list[str]:
    """Why vLLM would not load an adapter with these settings and tensors; nothing where it would."""
    reasons = []
    if config.get("modules_to_save"):
        reasons.append("modules are saved whole")
    if config.get("trainable_token_indices"):
        reasons.append("rows of tokens are saved")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        reasons.append("biases are saved")
    if config.get("use_dora"):
        reasons.append("it is a DoRA")
    if max_lora_rank(int(config.get("r", 1))) is None:
        reasons.append(f"its rank {config['r']} is above {RANKS[-1]}")
    if not reasons and any(not name.endswith(_FACTORS) for name in tensors):
        reasons.append("a tensor is no factor")
    return reasons
