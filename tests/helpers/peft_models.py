"""Tiny transformers models, adapters of them that PEFT itself saves, and the live PEFT model as the truth."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mergeometry as mg

IDS = torch.tensor([[1, 4, 7, 2, 9, 4]])


def tiny_llama(**changes: Any) -> Any:
    import transformers

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**{**sizes, "vocab_size": 30, "tie_word_embeddings": False, **changes})
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


def saved_adapter(model: Any, folder: Path, config: Any, seed: int = 1, **saving: Any) -> Path:
    """An adapter of a model with every trained number moved a little, saved by PEFT; the model stays as it was."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped: Any = peft.get_peft_model(copy.deepcopy(model), config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    noise = 0.2 * torch.randn(parameter.shape, generator=generator)
                    parameter.add_(noise.to(parameter.dtype))
        wrapped.save_pretrained(folder, **saving)
    return folder


def live(model: Any, adapter: Path) -> Any:
    """The adapter on its base, as PEFT loads it."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(copy.deepcopy(model), str(adapter)).eval()


def merged(base: Path, adapters: list[Path], output: Path, **keys: Any) -> Any:
    """The merge of adapters, folded into the base and loaded by transformers."""
    import transformers

    recipe = {"base": str(base), "models": [str(adapter) for adapter in adapters], "method": "average", **keys}
    mg.merge(recipe, output, workers=1)
    architecture = (transformers.AutoConfig.from_pretrained(output).architectures or ["AutoModel"])[0]
    loaded, info = getattr(transformers, architecture).from_pretrained(output, output_loading_info=True)
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])
    return loaded.eval()


def outputs(model: Any, *inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model(*(inputs or (IDS,)))[0]


def folded(model: Any, adapter: Path) -> dict[str, Tensor]:
    """The weights of the adapter merged into its base by PEFT."""
    return live(model, adapter).merge_and_unload().state_dict()
