"""Small files, or files that say they are small, that unpack to gigabytes or take minutes."""

from __future__ import annotations

import struct

from mergeometry import limits
from tests.helpers.hostile.trick import Setting, trick


@trick("more than 100,000 tensors|more values than")
def many_names(setting: Setting) -> None:
    """400,000 empty tensors: 800 MB of Python objects."""
    names = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % number for number in range(400_000))
    setting.weights(b"{" + names[: limits.HEADER_BYTES - 64] + b"}")


@trick("more values than")
def hidden_names(setting: Setting) -> None:
    """The same with the key that is counted spelt by an escape."""
    one = b'"%d":{"dtype":"F32","shape":[0],"data\\u005foffsets":[0,0]}'
    setting.weights(b"{" + b",".join(one % number for number in range(200_000)) + b"}")


@trick("a text or number of more than|more values than")
def many_numbers(setting: Setting) -> None:
    """A shape of five million dimensions."""
    setting.weights(b'{"a":{"shape":[' + b"1," * 5_000_000 + b"1]}}")


@trick("more values than")
def many_notes(setting: Setting) -> None:
    """900,000 entries of metadata."""
    setting.weights(b'{"__metadata__":{' + b",".join(b'"%d":""' % number for number in range(900_000)) + b"}}")


@trick("more values than")
def deep_brackets(setting: Setting) -> None:
    """Fifteen million brackets."""
    setting.weights(b'{"a":' + b"[" * (limits.HEADER_BYTES - 8))


@trick("more values than")
def endless_siblings(setting: Setting) -> None:
    """An error at the start that a careless check finds at the end."""
    setting.weights(b'{"a":' + b"{}" * (limits.HEADER_BYTES // 2 - 8))


@trick("a text or number of more than")
def long_name(setting: Setting) -> None:
    """One name of fifteen megabytes."""
    setting.weights(b'{"' + b"a" * (limits.HEADER_BYTES - 16) + b'":1}')


@trick("a text or number of more than")
def long_number(setting: Setting) -> None:
    """A number of fifteen million digits, which takes a square of that to read."""
    setting.weights(b'{"a":' + b"9" * (limits.HEADER_BYTES - 16) + b"}")


@trick("more values than")
def long_escapes(setting: Setting) -> None:
    """Escaped quotes without an end, which a regular expression backtracks over."""
    setting.weights(b'{"' + b'\\"' * (limits.HEADER_BYTES // 2 - 8))


@trick("not all ASCII")
def one_wide_character(setting: Setting) -> None:
    """One emoji that makes a long text four times as large in memory."""
    text = (b"a" * 500_000 + b'\\"') * 8 + "\U0001f600".encode()
    setting.weights(b'{"__metadata__":{"a":"' + text + b'"}}')


@trick("a text or number of more than")
def sparse_header(setting: Setting) -> None:
    """A header of zeros that takes no room on the disk."""
    with (setting.model / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", limits.HEADER_BYTES) + b"{")
        file.truncate(limits.HEADER_BYTES + 8)


@trick("more than 200,000 tensors", file="model.safetensors.index.json")
def large_index(setting: Setting) -> None:
    """An index of a million names."""
    (setting.model / "model.safetensors").unlink()
    names = b",".join(b'"%d":"x"' % number for number in range(900_000))
    (setting.model / "model.safetensors.index.json").write_bytes(b'{"weight_map":{' + names + b"}}")


@trick("more than 4,096 files", file="model.safetensors.index.json")
def many_shards(setting: Setting) -> None:
    """An index of more files than a process may open."""
    (setting.model / "model.safetensors").unlink()
    names = b",".join(b'"%d":"%d.safetensors"' % (number, number) for number in range(5_000))
    (setting.model / "model.safetensors.index.json").write_bytes(b'{"weight_map":{' + names + b"}}")
