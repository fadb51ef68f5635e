"""Headers of one safetensors file that lie about what it holds."""

from __future__ import annotations

import json
from typing import Any

import torch

from tests.helpers import models
from tests.helpers.hostile.trick import TENSOR, Setting, trick

_FOUR = bytes(4)


def _one(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    return {TENSOR: {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


@trick("empty or truncated")
def empty_file(setting: Setting) -> None:
    """A file of no bytes."""
    (setting.model / "model.safetensors").write_bytes(b"")


@trick("claims 1,152,921,504,606,846,976 bytes")
def enormous_length(setting: Setting) -> None:
    """A header that says it is 2^60 bytes long, to have as much memory taken."""
    setting.weights(b"{}", length=2**60)


@trick("it is truncated")
def length_past_the_end(setting: Setting) -> None:
    """A header longer than its file."""
    setting.weights(b"{}", length=1_000)


@trick("does not begin with '{'")
def leading_space(setting: Setting) -> None:
    """A header that some parsers read and others refuse, so that two libraries see two models."""
    setting.weights(b" {}")


@trick("not UTF-8")
def not_utf_8(setting: Setting) -> None:
    """Bytes that are no text."""
    setting.weights(b'{"\xff":1}')


@trick("'a' twice")
def duplicate_tensor(setting: Setting) -> None:
    """A name twice: Python's parser keeps the last in silence, others the first."""
    setting.weights(b'{"a":1,"a":2}')


@trick("'a' twice")
def duplicate_by_escape(setting: Setting) -> None:
    """The same, with the second name spelt by an escape."""
    setting.weights(b'{"\\u0061":1,"a":2}')


@trick("'dtype' twice")
def duplicate_dtype(setting: Setting) -> None:
    """A tensor of two dtypes."""
    setting.weights(b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', _FOUR)


@trick("overlap", tensor="b")
def overlapping_tensors(setting: Setting) -> None:
    """Two tensors of the same bytes, so that a check of the one says nothing about the other."""
    entry = _one()[TENSOR]
    setting.weights({"a": entry, "b": entry}, _FOUR)


@trick("hole of 4 bytes", tensor=TENSOR)
def hidden_hole(setting: Setting) -> None:
    """Bytes that no tensor owns, in which something is hidden."""
    setting.weights(_one(offsets=(4, 8)), bytes(8))


@trick("after its last tensor")
def hidden_tail(setting: Setting) -> None:
    """A second file behind the last tensor."""
    setting.weights(_one(), bytes(4) + b"PK\x03\x04hidden")


@trick("it is truncated", tensor=TENSOR)
def tensor_past_the_end(setting: Setting) -> None:
    """A tensor that reads beyond the file."""
    setting.weights(_one(shape=(1 << 40,), offsets=(0, 1 << 42)), _FOUR)


@trick("end before they begin", tensor=TENSOR)
def negative_size(setting: Setting) -> None:
    """Offsets that end before they begin."""
    setting.weights(_one(offsets=(4, 0)), _FOUR)


@trick("needs 73786976294838206464 bytes", tensor=TENSOR)
def overflowing_shape(setting: Setting) -> None:
    """A shape whose size wraps around to a small number in 64 bits."""
    setting.weights(_one(shape=(2**62, 4)), _FOUR)


@trick("the shape must be", tensor=TENSOR)
def negative_dimension(setting: Setting) -> None:
    """A shape with a dimension below zero."""
    setting.weights(_one(shape=(-1,)), _FOUR)


@trick("the shape must be", tensor=TENSOR)
def boolean_dimension(setting: Setting) -> None:
    """A shape with a truth value, which Python takes for 1."""
    setting.weights(_one(shape=(True,)), _FOUR)


@trick("is unknown", tensor=TENSOR)
def unknown_dtype(setting: Setting) -> None:
    """A dtype that nobody knows, to be put into a message whole."""
    setting.weights(_one(dtype="X" * 100_000), _FOUR)


@trick("exactly the keys", tensor=TENSOR)
def further_key(setting: Setting) -> None:
    """An entry with a key that other readers might heed."""
    setting.weights(_one(strides=[0]), _FOUR)


@trick("1,025 characters")
def endless_name(setting: Setting) -> None:
    """A name longer than any file system or terminal bears."""
    setting.weights({"n" * 1_025: _one()[TENSOR]}, _FOUR)


@trick("neither 0 nor 1", tensor="flag")
def truth_of_two(setting: Setting) -> None:
    """A boolean of the value 2, which torch reads as true once and as 2 the next time."""
    for place in (*setting.recipe["models"], setting.recipe["base"]):
        folder = setting.model.parent / place
        models.write_model(folder, {**models.loaded(folder), "flag": torch.tensor([True])})
    file = setting.model / "model.safetensors"
    raw = file.read_bytes()
    length = 8 + int.from_bytes(raw[:8], "little")
    begin = length + json.loads(raw[8:length])["flag"]["data_offsets"][0]
    file.write_bytes(raw[:begin] + b"\2" + raw[begin + 1 :])


@trick("NaN or infinite", tensor=TENSOR)
def hidden_nan(setting: Setting) -> None:
    """A single NaN, which an average spreads in silence."""
    whole = models.loaded(setting.model)
    whole[TENSOR][1, 1] = float("nan")
    models.write_model(setting.model, whole)
