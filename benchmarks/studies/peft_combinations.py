"""How far PEFT's `add_weighted_adapter` is from the sum: ``python -m benchmarks.studies.peft_combinations``.

Two adapters of a small Llama, each kind at the weights 0.7 and -0.4. The truth is the weighted sum of the updates that
`merge_and_unload` gives for each adapter alone. Prints the table of docs/adapters.md.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mergeometry as mg

WEIGHTS = [0.7, -0.4]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rsLoRA": {"use_rslora": True},
    "lora_bias": {"lora_bias": True},
    "DoRA": {"use_dora": True},
    "rank_pattern": {"rank_pattern": {"q_proj": 2}},
    "alpha_pattern": {"alpha_pattern": {"q_proj": 1}},
    "bias: all": {"bias": "all"},
}
COMBINATIONS: dict[str, dict[str, Any]] = {"linear": {}, "cat": {}, "svd": {"svd_rank": 8}}


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    print(f"| adapters | {' | '.join(COMBINATIONS)} | ours |\n| --- |{' --- |' * (len(COMBINATIONS) + 1)}")
    model = _tiny_llama()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        model.save_pretrained(place / "base")
        for kind, changes in KINDS.items():
            both = [_adapter(model, place / f"{kind}-{seed}", seed, changes if seed == 1 else _second(changes)) for seed in (1, 2)]  # fmt: skip  # noqa: E501
            print(f"| {kind} | {' | '.join(_row(model, place, both, kind))} |")


def _second(changes: dict[str, Any]) -> dict[str, Any]:
    """The second adapter's settings: patterns differ between the two, all else does not."""
    return {} if any(key.endswith("_pattern") for key in changes) else changes


def _row(model: Any, place: Path, adapters: list[Path], kind: str) -> list[str]:
    updates = [_update(model, _loaded(model, [adapter]).merge_and_unload().state_dict()) for adapter in adapters]
    truth = {name: sum(w * one[name] for w, one in zip(WEIGHTS, updates, strict=True)) for name in updates[0]}
    row = []
    for combination, given in COMBINATIONS.items():
        try:
            loaded = _loaded(model, adapters)
            loaded.add_weighted_adapter(list(loaded.peft_config), WEIGHTS, "new", combination_type=combination, **given)
            loaded.set_adapter("new")
            row.append(f"{_distance(_update(model, loaded.merge_and_unload().state_dict()), truth):.1e}")
        except (ValueError, RuntimeError) as error:
            row.append(type(error).__name__)
    models = [{"path": str(path), "weight": weight} for path, weight in zip(adapters, WEIGHTS, strict=True)]
    output = {"adapter": {"rank": 16} if kind == "DoRA" else True}
    recipe = {"base": str(place / "base"), "models": models, "method": "task_arithmetic", "output": output}
    mg.merge(recipe, place / f"{kind}-merged", workers=1)
    ours = _loaded(model, [place / f"{kind}-merged"]).merge_and_unload().state_dict()
    return [*row, f"{_distance(_update(model, ours), truth):.1e}"]


def _tiny_llama() -> Any:
    import transformers  # noqa: PLC0415

    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=30,
            tie_word_embeddings=False, attention_bias=True,
        )
    ).eval()  # fmt: skip


def _adapter(model: Any, folder: Path, seed: int, changes: dict[str, Any]) -> Path:
    import peft  # noqa: PLC0415

    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"], **changes}
    wrapped: Any = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(**settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    wrapped.save_pretrained(folder)
    return folder


def _loaded(model: Any, adapters: list[Path]) -> Any:
    import peft  # noqa: PLC0415

    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(adapters[0]), adapter_name="0")
    for number, adapter in enumerate(adapters[1:], 1):
        loaded.load_adapter(str(adapter), adapter_name=str(number))
    return loaded


def _update(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weights[name].double() - before.double() for name, before in model.state_dict().items()}


def _distance(one: Mapping[str, Tensor], other: Mapping[str, Any]) -> float:
    apart = sum(float((one[name] - other[name]).square().sum()) for name in other)
    return (apart / sum(float(each.square().sum()) for each in other.values())) ** 0.5


if __name__ == "__main__":
    main()
