"""Makes a task's inputs from its expert alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders import Encoder
from mergeometry.encoders.base import Inputs
from mergeometry.encoders.batches import Chosen as Row
from mergeometry.encoders.batches import pack
from mergeometry.encoders.causal import CausalEncoder
from mergeometry.encoders.heads import Head
from mergeometry.encoders.image import ImageEncoder
from mergeometry.encoders.text import TextEncoder
from mergeometry.errors import DataError
from mergeometry.inputs import UnlabelledData
from mergeometry.inputs.images import digest_of_images
from mergeometry.inputs.unlabelled import digest_of_texts, unlabelled_texts
from mergeometry.synthetic.drawings import drawings
from mergeometry.synthetic.said import said_of, warnings_of
from mergeometry.synthetic.sentences import sentences
from mergeometry.synthetic.written import written

Progress = Callable[[int], None]


def refuse_unmakeable(kind: str, task: str, *, head: bool) -> None:
    """Refuse a model for which no inputs can be made; ``kind`` is as in `encoder: {kind: ...}`.

    Raises:
        DataError: the model is an encoder-decoder, or an encoder of texts or images without a head.
    """
    if kind == "seq2seq":
        hint = "give the task data: a file, a folder or a data set"
        raise DataError("no texts for an encoder-decoder can be made", model=task, hint=hint)
    if kind in ("text", "image") and not head:
        raise DataError(
            "without a head nothing tells whether inputs that are made say anything of the task, and none is given",
            model=task, hint="give the task a safetensors file, head: PATH, or data",
        )  # fmt: skip


def made_inputs(
    encoder: Encoder,
    weights: Mapping[str, Tensor],
    head: Head | None,
    task: str,
    count: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
    progress: Progress = lambda _done: None,
) -> UnlabelledData:
    """Make ``count`` inputs of a task; ``weights`` are its expert's, by parameter.

    A text encoder's are public sentences and an image encoder's are drawn at random, and the expert's head says of them
    how sure it is; a language model writes its own. The same expert, seed and count give the same inputs. ``progress``
    is called with the number of inputs done.

    Raises:
        DataError: no inputs can be made for such a model.
    """
    if isinstance(encoder, CausalEncoder):
        texts = written(encoder, weights, count, progress, seed, task)
        facts = {"kind": "written"}
        return UnlabelledData(tuple(texts), "texts", (), digest_of_texts(texts), facts)
    if head is None or not isinstance(encoder, TextEncoder | ImageEncoder):
        raise DataError("no inputs can be made for this kind of model", model=task)
    texts = isinstance(encoder, TextEncoder)
    data = _sentences(count, seed, task) if texts else _drawings(count, seed)
    features = _features(encoder, weights, encoder.prepare(data), dtype, progress)
    said = said_of(head.logits(features.to(head.weight.device)).cpu())
    facts = {"kind": "sentences" if texts else "drawings", "sure": round(said.sure, 4), "classes": list(said.classes)}
    return replace(data, notes=(*data.notes, *warnings_of(said)), made=facts)


def _sentences(count: int, seed: int, task: str) -> UnlabelledData:
    texts = sentences(count, seed, task)
    notes = (f"only {len(texts):,} of {count:,} public sentences are there",) if len(texts) < count else ()
    return replace(unlabelled_texts(texts), notes=notes)


def _drawings(count: int, seed: int) -> UnlabelledData:
    images = drawings(count, seed)
    return UnlabelledData(images, "images", (), digest_of_images(images))


def _features(
    encoder: Encoder, weights: Mapping[str, Tensor], inputs: Inputs, dtype: torch.dtype, progress: Progress
) -> Float[Tensor, "inputs d"]:
    features, done = torch.empty(len(inputs), encoder.width), 0
    cast, kind = {name: weight.to(dtype) for name, weight in weights.items()}, encoder.device.type
    for part in pack([Row(0, row) for row in range(len(inputs))], [inputs], encoder.budget):
        rows = [one.row for one in part]
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=dtype == torch.bfloat16):
            batch = encoder.batch([inputs.items[row] for row in rows])
            features[rows] = encoder.features(encoder.module, cast, batch).float().cpu()
        done += len(part)
        progress(done)
    return features
