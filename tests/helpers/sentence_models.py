"""Small sentence-transformers folders, and their embeddings computed piece by piece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tests.helpers.models import tiny_bert

POOLING = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
DENSE = {
    "in_features": 16,
    "out_features": 6,
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
}
TOKENS = torch.tensor([[3, 5, 9, 11, 2], [7, 1, 4, 8, 30]])


def write_sentence_model(
    folder: Path,
    seed: int,
    *,
    encoder: str = "",
    pooling: dict[str, Any] | None = None,
    dense: dict[str, Any] | None = DENSE,
    normalise: bool = True,
) -> Path:
    """A folder as SentenceTransformer.save writes it; ``encoder`` is the subfolder of the transformer, if any."""
    torch.manual_seed(seed)
    (folder / encoder).mkdir(parents=True)
    tiny_bert().save_pretrained(folder / encoder)
    (folder / encoder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    modules = [("Transformer", encoder), ("Pooling", "1_Pooling")]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or POOLING))
    if dense is not None:
        modules.append(("Dense", "2_Dense"))
        (folder / "2_Dense").mkdir()
        (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
        weights = {"linear.weight": torch.randn(6, 16), "linear.bias": torch.randn(6)}
        safetensors.torch.save_file(weights, folder / "2_Dense" / "model.safetensors")
    if normalise:
        modules.append(("Normalize", "3_Normalize"))
    listed = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


def embeddings(folder: Path) -> Tensor:
    """The embeddings of the tokens by the modules that the folder lists."""
    import transformers

    features = TOKENS
    for module in json.loads((folder / "modules.json").read_text()):
        place, kind = folder / module["path"], module["type"].rpartition(".")[2]
        if kind == "Transformer":
            model, report = transformers.AutoModel.from_pretrained(place, output_loading_info=True)
            assert not report["missing_keys"] and not report["unexpected_keys"]
            with torch.no_grad():
                features = model.eval()(features).last_hidden_state
        elif kind == "Pooling":
            settings = json.loads((place / "config.json").read_text())
            features = features[:, 0] if settings["pooling_mode_cls_token"] else features.mean(1)
        elif kind == "Dense":
            weights = safetensors.torch.load_file(place / "model.safetensors")
            activation = json.loads((place / "config.json").read_text())["activation_function"].rpartition(".")[2]
            function = {"Tanh": torch.tanh, "ReLU": torch.relu}[activation]
            features = function(features @ weights["linear.weight"].T + weights["linear.bias"])
        else:
            features = torch.nn.functional.normalize(features, dim=1)
    return features
