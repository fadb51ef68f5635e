"""Attacks on the header of one safetensors file: each is refused by its own words, cheaply."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeometry import limits
from mergeometry.errors import SourceError
from mergeometry.sources import read_header
from tests.helpers.fuzz_targets import CASES

Build = Callable[..., Path]
FOUR = b"\0" * 4


def entry(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def refused(path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_header(path)
    assert caught.value.file == str(path)
    return caught.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty or truncated"),
        (b"\1\0\0\0\0\0\0", "empty or truncated"),
        (struct.pack("<Q", 2**60) + b"{}", "claims 1,152,921,504,606,846,976 bytes; at most"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "at most"),
        (struct.pack("<Q", 3) + b"{}", "it is truncated"),
        (struct.pack("<Q", 0), "does not begin with '{'"),
        (struct.pack("<Q", 2) + b"[]", "does not begin with '{'"),
        (struct.pack("<Q", 3) + b" {}", "does not begin with '{'"),
        (struct.pack("<Q", 3) + b"\xef\xbb\xbf{}", "does not begin with '{'"),
        (b"PK\x03\x04" + b"\0" * 60, "zip archive.*never run"),
        (b"\x80\x04\x95" + b"\0" * 60, "Python pickle.*never run"),
        (b"\x80\x02}q\0." + b"\0" * 60, "Python pickle.*never run"),
        (b"GGUF\3\0\0\0" + b"\0" * 60, "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git-lfs pointer"),
        (b"<!DOCTYPE html><html></html>", "HTML page"),
    ],
)
def test_files_that_are_no_safetensors(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        read_header(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b'{"a":\xff}', "not UTF-8"),
        (b"{", "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"{}\0", "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a', "Unterminated string"),
        (b'{"a":NaN}', "NaN is not a JSON value"),
        (b'{"a":-Infinity}', "-Infinity is not a JSON value"),
        (b'{"\\ud800":{}}', "surrogate"),
        (b'{"a":' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a":{"b":{"c":{"d":1}}}}', "nested deeper than 3"),
        (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "nested deeper than 3"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "nested deeper than 3"),
        (b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", "more values than its 0 tensors"),
        (b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000, "more values than its 0 tensors"),
        (b'{"' + b"a" * 3_000_000 + b'":1}', "a text or number of more than 1,048,576 bytes"),
        (b'{"__metadata__":{"a":"' + (b"b" * 1_000 + b'\\"') * 3_000 + "é".encode() + b'"}}', "not all ASCII"),
        (b'{"a":1,"a":2}', "'a' twice"),
        (b'{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}', "'dtype' twice"),
        (b'{"__metadata__":{"k":"1","k":"1"}}', "'k' twice"),
        (b'{"__metadata__":{},"__metadata__":{}}', "'__metadata__' twice"),
        (b'{"\\u0061":1,"a":2}', "'a' twice"),
        (b'{"__metadata__":[]}', "must map names to strings"),
        (b'{"__metadata__":null}', "must map names to strings"),
        (b'{"__metadata__":{"a":1}}', "must map names to strings"),
    ],
)
def test_headers_that_are_no_strict_json(build: Build, header: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read_header(build(header))


ENTRIES: list[tuple[Any, str]] = [
    (1, "exactly the keys"),
    ([], "exactly the keys"),
    ({"dtype": "F32", "shape": [1]}, "exactly the keys"),
    (entry(extra=1), "exactly the keys"),
    (entry(dtype="F99"), "'F99' is unknown"),
    (entry(dtype="f32"), "is unknown"),
    (entry(dtype=None), "None is unknown"),
    (entry(dtype=[1]), "is unknown"),
    (entry(dtype="X" * 100_000), "is unknown"),
    (entry(dtype="F4"), "packs several values"),
    (entry(dtype="F6_E2M3"), "packs several values"),
    (entry(dtype="F8_E4M3FNUZ"), "is unknown"),
    (entry(shape=None), "shape must be"),
    (entry(shape=1), "shape must be"),
    (entry(shape="1"), "shape must be"),
    (entry(shape={}), "shape must be"),
    (entry(shape=[-1]), "shape must be"),
    (entry(shape=[1.0]), "shape must be"),
    (entry(shape=[True]), "shape must be"),
    (entry(shape=["1"]), "shape must be"),
    (entry(shape=[None]), "shape must be"),
    (entry(shape=[2**64]), "shape must be"),
    (entry(shape=[1] * 17), "17 dimensions"),
    (entry(shape=[2**62, 4]), "needs 73786976294838206464 bytes"),
    (entry(shape=[2**32, 2**32]), "needs"),
    (entry(shape=[2**62] * 16), "needs"),
    (entry(shape=[2]), "needs 8 bytes, but data_offsets hold 4"),
    (entry(shape=[0]), "needs 0 bytes, but data_offsets hold 4"),
    (entry(offsets=None), "data_offsets must be"),
    (entry(offsets=[0]), "data_offsets must be"),
    (entry(offsets=[0, 4, 4]), "data_offsets must be"),
    (entry(offsets=[0, 4.0]), "data_offsets must be"),
    (entry(offsets=[False, 4]), "data_offsets must be"),
    (entry(offsets=[-4, 0]), "data_offsets must be"),
    (entry(offsets=["0", "4"]), "data_offsets must be"),
    (entry(offsets=[4, 0]), "end before they begin"),
    (entry(offsets=[4, 8]), "it is truncated"),
    (entry(offsets=[0, 2**63 - 1]), "it is truncated"),
    (entry(offsets=[2**63, 2**63 + 4]), "data_offsets must be"),
]


@pytest.mark.parametrize(("value", "words"), ENTRIES)
def test_entries_that_describe_no_tensor(build: Build, value: Any, words: str) -> None:
    error = refused(build({"name": value}, FOUR))
    assert words in error.what
    assert error.tensor == "name"
    assert len(str(error)) < 2_000


def test_names(build: Build) -> None:
    assert "empty" in refused(build({"": entry()}, FOUR)).what
    error = refused(build({"n" * 1_025: entry()}, FOUR))
    assert "1,025 characters" in error.what and len(str(error)) < 2_000
    assert list(read_header(build({"n" * 1_024: entry()}, FOUR)).tensors) == ["n" * 1_024]
    assert list(read_header(build({"../../etc\0\n": entry()}, FOUR)).tensors) == ["../../etc\0\n"]


@pytest.mark.parametrize(
    ("tensors", "size", "words", "tensor"),
    [
        ({"a": (0, 4), "b": (0, 4)}, 4, "overlap those of 'a' by 4", "b"),
        ({"a": (0, 8), "b": (4, 8)}, 8, "overlap those of 'a' by 4", "b"),
        ({"b": (4, 12), "a": (0, 8)}, 12, "overlap those of 'a' by 4", "b"),
        ({"a": (0, 12), "b": (4, 8)}, 12, "overlap those of 'a' by 8", "b"),
        ({"a": (4, 8)}, 8, "hole of 4 bytes", "a"),
        ({"a": (0, 4), "b": (8, 12)}, 12, "hole of 4 bytes", "b"),
        ({"a": (0, 8), "e": (4, 4)}, 8, "overlap", "e"),
        ({"e": (4, 4)}, 4, "hole", "e"),
        ({"a": (0, 4)}, 5, "1 bytes after its last tensor", None),
        ({}, 1, "1 bytes after its last tensor", None),
    ],
)
def test_bytes_belong_to_one_tensor_each(
    build: Build, tensors: dict[str, tuple[int, int]], size: int, words: str, tensor: str | None
) -> None:
    header = {name: entry([(end - begin) // 4], (begin, end)) for name, (begin, end) in tensors.items()}
    error = refused(build(header, b"\0" * size))
    assert words in error.what
    assert error.tensor == tensor


def test_empty_and_scalar_tensors_and_padding_are_fine(build: Build) -> None:
    header = {"s": entry([], (0, 4)), "e": entry([0, 3], (0, 0)), "f": entry([0], (4, 4)), "t": entry([1], (4, 8))}
    read = read_header(build(json.dumps(header).encode() + b"   ", b"\0" * 8))
    assert set(read.tensors) == set(header)
    assert read_header(build(b"{}")).tensors == {}


def cost(attack: Callable[[], object]) -> tuple[float, int]:
    start = time.process_time()
    with pytest.raises(SourceError):
        attack()
    seconds = time.process_time() - start
    tracemalloc.start()
    with pytest.raises(SourceError):
        attack()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


def test_bombs_cost_little(tmp_path: Path, build: Build) -> None:
    names = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % number for number in range(400_000))
    hidden = b",".join(
        b'"%d":{"dtype":"F32","shape":[0],"data\\u005foffsets":[0,0]}' % number for number in range(400_000)
    )
    sparse = tmp_path / "sparse.safetensors"
    with sparse.open("wb") as file:
        file.write(struct.pack("<Q", limits.HEADER_BYTES) + b"{")
        file.truncate(limits.HEADER_BYTES + 8)
    attacks = {
        "length": build(b"{}", length=2**60, name="length"),
        "names": build(b"{" + names + b"}", name="names"),
        "escaped names": build(b"{" + hidden + b"}", name="escaped"),
        "metadata": build(b'{"__metadata__":{' + b'"":"",' * 3_000_000 + b"}}", name="metadata"),
        "numbers": build(b'{"a":{"shape":[' + b"1," * 5_000_000 + b"1]}}", name="numbers"),
        "nesting": build(b'{"a":' + b"[" * 15_000_000, name="nesting"),
        "siblings": build(b'{"a":' + b"{}" * 7_000_000, name="siblings"),
        "entries": build(
            b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(10_001)) + b"}}", name="entries"
        ),
    }
    for name, path in attacks.items():
        seconds, peak = cost(lambda path=path: read_header(path))
        assert peak < 50e6, (name, peak)
        assert seconds < 0.1, (name, seconds)  # half of it is slack for a busy machine
    assert cost(lambda: read_header(sparse))[0] < 3


def test_an_unterminated_string_of_quotes_is_not_quadratic(build: Build) -> None:
    seconds, _ = cost(lambda: read_header(build(b'{"' + b'\\"' * 5_000_000)))
    assert seconds < 2


def sample(folder: Path) -> tuple[Path, bytes, int]:
    path = folder / "sample.safetensors"
    safetensors.torch.save_file(
        {"embed.weight": torch.randn(3, 2), "b": torch.ones(5, dtype=torch.bfloat16), "scalar": torch.tensor(1)},
        path,
        metadata={"format": "pt"},
    )
    content = path.read_bytes()
    return path, content, 8 + int.from_bytes(content[:8], "little")


def test_a_cut_at_any_byte_is_named(tmp_path: Path) -> None:
    path, content, data_start = sample(tmp_path)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        error = refused(path)
        if length >= data_start:
            assert error.tensor is not None and "truncated" in error.what


def test_flipped_headers_parse_rightly_or_not_at_all(tmp_path: Path) -> None:
    path, content, data_start = sample(tmp_path)
    chance = random.Random(7)
    accepted = 0
    for place in range(1_000 + data_start):
        broken = bytearray(content)
        # Every byte of the header once, and then a few together.
        places = [place] if place < data_start else chance.choices(range(data_start), k=chance.choice([1, 2, 4]))
        for each in places:
            broken[each] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            header = read_header(path)
        except SourceError:
            continue
        accepted += 1
        # Only names, metadata, and dtypes or shapes of the same size can have changed unseen.
        ends = [8 + int.from_bytes(broken[:8], "little")]
        for info in header.tensors.values():
            assert info.start == ends[-1]
            assert info.nbytes == info.elements * info.dtype.itemsize
            ends.append(info.start + info.nbytes)
        assert ends[-1] == len(content)
        assert safetensors.torch.load_file(path).keys() == header.tensors.keys()
    assert 0 < accepted < 500 + data_start // 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
plausible = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BOOL", "F4", "x"]) | json_values,
        "shape": st.lists(st.integers(-1, 5) | st.integers(), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 40) | st.integers(), max_size=3) | json_values,
    }
)


@settings(max_examples=CASES, deadline=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.binary(max_size=64)
    | st.binary(max_size=64).map(lambda raw: b"{" + raw)
    | st.dictionaries(st.text(max_size=8) | st.just("__metadata__"), plausible | json_values, max_size=4).map(
        lambda value: json.dumps(value).encode()
    ),
    size=st.integers(0, 40),
)
def test_no_header_escapes_the_error_tree(tmp_path: Path, header: bytes, size: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    try:
        read_header(path)
    except SourceError as error:
        assert str(error).isprintable() or "\n" in str(error)


def test_a_header_bomb_stays_small_in_a_process_of_its_own(build: Build) -> None:
    path = build(b"{}", length=2**60)
    code = (
        "import resource, sys; from mergeometry.sources.header import read_header\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_header(__import__('pathlib').Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 5000)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["SourceError", "True"]
