"""What a model's folder holds, by the names of its files and subfolders.

Sources: the constants of transformers (`utils/__init__.py`: WEIGHTS_NAME, SAFE_WEIGHTS_NAME, TF2_WEIGHTS_NAME,
FLAX_WEIGHTS_NAME), of its trainer (`trainer.py`: TRAINING_ARGS_NAME, OPTIMIZER_NAME, ...), of PEFT, diffusers,
sentence-transformers, accelerate (`utils/constants.py`), DeepSpeed, TRL, LLaMA-Factory (`extras/constants.py`:
V_HEAD_WEIGHTS_NAME) and LLaVA (`train/train.py`), and the folders that these libraries write.
"""

from __future__ import annotations

import re
from enum import Enum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple


class Kind(Enum):
    """What a file is to a merge."""

    WEIGHTS = "weights"
    PART = "a further part of the model"
    COPY = "another copy of the weights"
    TRAINING = "the state of a training run"
    HEADS = "heads that are kept apart from their models"
    TOKENIZER = "tokenizer"
    TEMPLATE = "chat template"
    CONFIGURATION = "configuration"
    DOCUMENT = "document"
    OWN = "written anew"
    CODE = "code"
    UNREAD = "weights of an unknown meaning"
    UNKNOWN = "unknown"


class Row(NamedTuple):
    """One pattern of names: what such a file is, in a few words that fit after "holds" or "is left out:"."""

    pattern: str
    kind: Kind
    words: str = ""


def _rows(kind: Kind, words: str, *patterns: str) -> tuple[Row, ...]:
    return tuple(Row(pattern, kind, words) for pattern in patterns)


FILES: tuple[Row, ...] = (
    *_rows(Kind.CODE, "code is never copied", "*.py", "*.pyc", "*.so"),
    # Parts that libraries load besides the model; nothing here merges them.
    *_rows(Kind.PART, "the value head of reward training", "value_head.*", "v_head.*"),
    *_rows(Kind.PART, "trained weights besides the adapter (LLaVA)", "non_lora_trainables.*", "mm_projector.*"),
    *_rows(Kind.PART, "the further heads of BGE-M3", "colbert_linear.*", "sparse_linear.*"),
    *_rows(Kind.PART, "the LoRA of a diffusion model", "pytorch_lora_weights.*"),
    *_rows(Kind.PART, "the embeddings of a textual inversion", "learned_embeds*.*"),
    *_rows(Kind.PART, "the weights of an adapter", "adapter_model.*", "adapters.safetensors"),
    *_rows(Kind.PART, "the embeddings of a prompt (P-tuning)", "prompt_embeddings.*", "prefix_encoder.*"),
    Row("head.safetensors", Kind.HEADS, "the head that a suite keeps next to an adapter"),
    *_rows(Kind.TRAINING, "what an earlier merge learned", "coefficients.safetensors", "rotations.safetensors"),
    # What transformers' trainer, accelerate, DeepSpeed and FSDP need to continue.
    *_rows(
        Kind.TRAINING, "the state of a training run",
        "optimizer*.pt", "optimizer*.bin", "optimizer*.safetensors", "scheduler*.pt", "scheduler*.bin", "scaler*.pt",
        "rng_state*.pth", "random_states_*.pkl", "custom_checkpoint_*.pkl", "sampler*.bin", "dataloader*.bin",
        "training_args.bin", "trainer_state.json", "*_optim_states.pt", "*_model_states.pt", "*.distcp",
        "events.out.tfevents*", "trainer_log.jsonl", "train_results.json", "eval_results.json", "all_results.json",
        "finetuning_args.json", "training_args.json",
    ),
    *_rows(
        Kind.COPY, "another copy of the weights",
        "pytorch_model*.bin", "pytorch_model*.bin.index.json", "diffusion_pytorch_model*.bin",
        "open_clip_pytorch_model*.bin", "tf_model*.h5", "tf_model*.h5.index.json", "flax_model*.msgpack",
        "flax_model*.msgpack.index.json", "diffusion_flax_model*.msgpack", "rust_model*.ot", "openvino_*.bin",
        "openvino_*.xml", "*.onnx", "*.onnx_data", "*.onnx.data", "*.tflite", "*.mlmodel", "*.pb", "*.gguf", "*.ggml",
        "consolidated*.pth", "*.ckpt.index", "*.ckpt.meta", "*.ckpt.data-*", "model.ckpt",
    ),
    Row("tokenizer.bin", Kind.UNKNOWN, "a tokenizer in another format"),
    *_rows(
        Kind.UNREAD, "pickled or foreign weights are never copied",
        "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.keras", "*.msgpack", "*.npz", "*.ot",
    ),
    *_rows(Kind.UNKNOWN, "pickled or foreign data is never copied", "*.pkl", "*.pickle", "*.joblib", "*.npy"),
    Row("*.safetensors", Kind.WEIGHTS, "weights are merged, not copied"),
    Row("*.safetensors.index.json", Kind.WEIGHTS, "the output gets its own index"),
    Row("*.index.json", Kind.COPY, "weights are merged, not copied"),
    Row("README*", Kind.OWN, "the output gets its own model card"),
    Row("mergeometry.json", Kind.OWN, "the output gets its own run record"),
    Row("adapter_config.json", Kind.OWN, "the base's own adapter is not part of the output"),
    *_rows(Kind.TEMPLATE, "", "chat_template.json", "chat_template.jinja"),
    *_rows(
        Kind.TOKENIZER, "",
        "tokenizer*.json", "tokenizer*.model", "tokenizer.txt", "tekken.json", "vocab.*", "vocab-*.json", "merges.txt",
        "bpe.codes", "special_tokens_map.json", "added_tokens.json",
        "normalizer.json", "sentencepiece*.model", "spiece.model", "source.spm", "target.spm",
    ),
    *_rows(
        Kind.CONFIGURATION, "",
        "config.json", "generation_config.json", "open_clip_config.json", "*preprocessor_config.json",
        "processor_config.json", "*image_processor*.json", "*feature_extractor*.json", "*video_processor*.json",
        "modules.json", "sentence_*_config.json", "config_sentence_transformers.json",
    ),
    *_rows(Kind.DOCUMENT, "", "LICENSE*", "NOTICE*", "USE_POLICY*"),
)  # fmt: skip
"""The first match wins."""

FOLDERS: tuple[Row, ...] = (
    *_rows(
        Kind.COPY, "other copies of the weights", "onnx", "openvino", "coreml", "tflite", "tensorrt", "gguf", "ggml",
        "original", "metal", "mlx", "*.mlpackage", "saved_model",
    ),
    *_rows(
        Kind.TRAINING, "the state of a training run", "checkpoint-*", "checkpoints", "runs", "wandb", "logs",
        "global_step*", "pytorch_model_fsdp*", "optimizer_*", "eval",
    ),
    *_rows(Kind.OWN, "the hub's own files", ".cache", ".git", ".huggingface", ".ipynb_checkpoints", "__pycache__"),
    Row("heads", Kind.HEADS, "heads that an earlier merge kept next to its weights"),
    Row("residuals", Kind.HEADS, "residuals that an earlier merge kept next to its weights"),
)  # fmt: skip

_NAME = re.compile(r"(?P<stem>.+?)\.safetensors(?:\.index(?:\.(?P<variant>[^.]+))?\.json)?")
_SHARD = re.compile(r"-\d+-of-\d+")

LIBRARY_FILES = ("diffusion_pytorch_model", "open_clip_model", "consolidated")
"""Names of weights that diffusers, OpenCLIP and mistral-inference load, and transformers does not."""


@lru_cache(maxsize=1 << 12)
def kind_of_file(name: str) -> Row:
    """What a file is; `UNKNOWN` where no row knows it."""
    return _first(name, FILES) or Row(name, Kind.UNKNOWN, "a file that no rule knows")


def kind_of_folder(name: str) -> Row:
    """What a subfolder is; `UNKNOWN` where no row knows it."""
    return _first(name, FOLDERS) or Row(name, Kind.UNKNOWN, "a sub-folder that no rule knows")


def _first(name: str, rows: tuple[Row, ...]) -> Row | None:
    return next((row for row in rows if fnmatchcase(name.lower(), row.pattern.lower())), None)


def stem_of(name: str) -> str:
    """What a weight file, a shard or an index is called without its number and its suffix."""
    match = _NAME.fullmatch(name)
    return _SHARD.sub("", match["stem"] if match else name)


def is_variant(name: str, stem: str) -> bool:
    """Whether a file is a variant of the weights ``stem``, such as `model.fp16.safetensors` of `model`.

    transformers and diffusers load a variant only where it is asked for.
    """
    match = _NAME.fullmatch(name)
    before, dot, variant = stem_of(name).rpartition(".")
    return match is not None and (
        (before == stem and bool(dot and variant)) or (match["variant"] is not None and stem_of(name) == stem)
    )
