"""What files and subfolders of a model are, by the names that real repositories have."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergeometry.conventions.folders import Kind, is_variant, kind_of_file, kind_of_folder, stem_of
from mergeometry.conventions.hub_cache import may_link_to
from mergeometry.conventions.modules import plain_settings

FILES = {
    Kind.WEIGHTS: ["model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"],
    Kind.PART: [
        "value_head.safetensors", "value_head.bin", "v_head.bin", "non_lora_trainables.bin", "mm_projector.bin",
        "colbert_linear.pt", "sparse_linear.pt", "pytorch_lora_weights.safetensors", "learned_embeds.safetensors",
        "adapter_model.safetensors", "adapter_model.bin", "adapters.safetensors", "prompt_embeddings.safetensors",
        "prefix_encoder.bin", "learned_embeds-steps-500.bin",
    ],
    Kind.TRAINING: [
        "optimizer.pt", "optimizer.bin", "scheduler.pt", "scheduler.bin", "scaler.pt", "rng_state.pth",
        "rng_state_0.pth",
        "random_states_0.pkl", "custom_checkpoint_0.pkl", "training_args.bin", "trainer_state.json", "sampler.bin",
        "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt", "__0_0.distcp",
        "events.out.tfevents.1700000000.host", "all_results.json", "optimizer_1.bin", "dataloader.bin",
        "coefficients.safetensors", "rotations.safetensors",
    ],
    Kind.COPY: [
        "pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "tf_model.h5",
        "tf_model.h5.index.json", "flax_model.msgpack", "rust_model.ot", "model.onnx", "model.onnx_data",
        "openvino_model.bin", "openvino_model.xml", "model-q4_k_m.gguf", "consolidated.00.pth", "model.ckpt.index",
        "bert_model.ckpt.data-00000-of-00001", "model.tflite", "diffusion_pytorch_model.fp16.bin",
        "open_clip_pytorch_model.bin", "model.ckpt", "saved_model.pb",
    ],
    Kind.UNREAD: ["head.pt", "extra.bin", "probe.pth", "weights.h5", "arrays.npz", "x.PT", "last.ckpt"],
    Kind.HEADS: ["head.safetensors"],
    Kind.TOKENIZER: ["tokenizer.json", "vocab.txt", "merges.txt", "spiece.model", "added_tokens.json", "tekken.json"],
    Kind.TEMPLATE: ["chat_template.jinja", "chat_template.json"],
    Kind.CONFIGURATION: ["config.json", "preprocessor_config.json", "sentence_bert_config.json", "modules.json"],
    Kind.DOCUMENT: ["LICENSE", "NOTICE.txt"],
    Kind.CODE: ["modeling_custom.py", "kernel.so"],
    Kind.UNKNOWN: ["notes.txt", "labels.pkl", "tokenizer.bin", "picture.png"],
}  # fmt: skip
FOLDERS = {
    Kind.COPY: ["onnx", "openvino", "coreml", "original", "model.mlpackage"],
    Kind.TRAINING: ["checkpoint-500", "runs", "wandb", "global_step100", "pytorch_model_fsdp_0", "optimizer_0"],
    Kind.HEADS: ["heads"],
    Kind.OWN: [".git", ".cache"],
    Kind.UNKNOWN: ["1_Pooling", "adapter", "unet"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
def test_files(kind: Kind, name: str) -> None:
    assert kind_of_file(name).kind is kind


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FOLDERS.items() for name in names])
def test_folders(kind: Kind, name: str) -> None:
    assert kind_of_folder(name).kind is kind


@pytest.mark.parametrize(
    ("name", "stem", "variant"),
    [
        ("model.safetensors", "model", False),
        ("model.fp16.safetensors", "model", True),
        ("model-00001-of-00002.fp16.safetensors", "model", True),
        ("model.fp16-00001-of-00002.safetensors", "model", True),
        ("model.safetensors.index.fp16.json", "model", True),
        ("model.safetensors.index.json", "model", False),
        ("diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model", True),
        ("other.safetensors", "model", False),
        ("model_2.safetensors", "model", False),
    ],
)
def test_variants(name: str, stem: str, variant: bool) -> None:
    assert is_variant(name, stem) is variant


def test_stems() -> None:
    names = ["model.safetensors", "model-00003-of-00010.safetensors", "model.safetensors.index.json"]
    assert {stem_of(name) for name in names} == {"model"}


CACHE = Path("/cache/hub/models--a--b")


@pytest.mark.parametrize(
    ("folder", "target", "allowed"),
    [
        (CACHE / "snapshots/abc", CACHE / "blobs/0123", True),
        (CACHE / "snapshots/abc/unet", CACHE / "blobs/0123", True),
        (CACHE / "snapshots/abc/a/b/c", CACHE / "blobs/0123", True),
        (Path("/cache/hub/datasets--a--b/snapshots/abc/first"), Path("/cache/hub/datasets--a--b/blobs/0123"), True),
        (CACHE / "snapshots/abc", CACHE / "blobs/sub/0123", False),
        (CACHE / "snapshots/abc", Path("/cache/hub/models--c--d/blobs/0123"), False),
        (Path("/data/snapshots/abc"), Path("/data/blobs/0123"), False),
        (Path("/data/model"), Path("/data/model/sub/file"), True),
        (Path("/data/model"), Path("/data/secret"), False),
    ],
)
def test_links_of_a_hub_cache(folder: Path, target: Path, allowed: bool) -> None:
    assert may_link_to(folder, target) is allowed


def test_settings_of_a_pooling_in_each_version() -> None:
    old = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    middle = {**old, "pooling_mode_lasttoken": False, "include_prompt": True}
    new = {"embedding_dimension": 8, "pooling_mode": ["mean"]}
    assert plain_settings(old) == plain_settings(middle) == plain_settings(new)
    assert plain_settings({**old, "pooling_mode_cls_token": True}) != plain_settings(old)
    assert plain_settings(None) == {}
