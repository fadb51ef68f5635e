"""Attacks on a model's folder: indexes, file names, links, pipes, pickles, settings; and files changed while read."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeometry import limits
from mergeometry.errors import SourceError
from mergeometry.sources import TensorReader, open_checkpoint, open_model
from mergeometry.sources.tokenizer import read_tokenizer
from tests.helpers.fuzz_targets import CASES

ONE = "model-00001-of-00002.safetensors"
TWO = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def refused(path: Path, words: str) -> SourceError:
    start = time.process_time()
    with pytest.raises(SourceError, match=words) as caught:
        open_model(path, "the model")
    assert caught.value.model == "the model"
    assert time.process_time() - start < 1
    return caught.value


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    safetensors.torch.save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / ONE)
    safetensors.torch.save_file({"c": torch.ones(2)}, tmp_path / TWO)
    write_index(tmp_path, {"a": ONE, "b": ONE, "c": TWO})
    return tmp_path


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "..",
        "/etc/secret.safetensors",
        "sub/x.safetensors",
        "./x.safetensors",
        "C:secret.safetensors",
        "C:\\secret.safetensors",
        "\\\\server\\share\\x.safetensors",
        "a\\b.safetensors",
        "..\\x.safetensors",
        "",
    ],
)
def test_no_name_in_an_index_leaves_the_folder(sharded: Path, name: str) -> None:
    write_index(sharded, {"a": name, "b": ONE, "c": TWO})
    assert refused(sharded, "own folder").tensor == "a"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "pickled weights are never read"),
        ("x.pt", "pickled weights are never read"),
        ("x.PTH", "pickled weights are never read"),
        ("config.json", "only .*safetensors"),
        ("x.safetensors\0", "cannot be a file's name"),
        ("x\n.safetensors", "cannot be a file's name"),
        ("\u202ex.safetensors", "cannot be a file's name"),
        ("é" * 130 + ".safetensors", "cannot be a file's name"),
        ("x" * 1_000_000, "cannot be a file's name"),
    ],
)
def test_names_in_an_index_are_of_safetensors(sharded: Path, name: str, words: str) -> None:
    write_index(sharded, {"a": name, "b": ONE, "c": TWO})
    assert len(str(refused(sharded, words))) < 2_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "no weight_map"),
        (b'{"weight_map": {}}', "no weight_map"),
        (b'{"weight_map": []}', "no weight_map"),
        (b'{"weight_map": {"a": 1}}', "map names to file names"),
        (b'{"weight_map": {"a": "x.safetensors", "a": "x.safetensors"}}', "'a' twice"),
        (b'{"weight_map": {"a": "x.safetensors"}, "weight_map": {}}', "'weight_map' twice"),
        (b'{"weight_map": {"a": "x.safetensors"}, "n": NaN}', "NaN"),
        (b'{"weight_map": {"a": "x.safetensors"}, "n": ' + b"9" * 5000 + b"}", "a whole number has too many digits"),
        (b'{"weight_map": ' + b"[" * 100_000, "nested deeper"),
        (b'{"weight_map": {' + b'"a":"",' * (2 * limits.INDEX_ENTRIES + 1), "more than 200,000 tensors"),
        (
            json.dumps({"weight_map": {str(n): f"{n}.safetensors" for n in range(5_000)}}).encode(),
            "more than 4,096 files",
        ),
    ],
)
def test_indexes_that_are_none(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / INDEX).write_bytes(content)
    refused(tmp_path, words)


def test_an_index_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / INDEX).touch()
    os.truncate(tmp_path / INDEX, limits.INDEX_BYTES + 1)
    refused(tmp_path, f"at most {limits.INDEX_BYTES:,} are read")


def test_all_missing_shards_are_listed_at_once(sharded: Path) -> None:
    (sharded / ONE).unlink()
    (sharded / TWO).unlink()
    error = refused(sharded, "2 of the index's files are missing")
    assert ONE in error.what and TWO in error.what


def test_all_tensors_on_which_index_and_shards_differ_are_listed(sharded: Path) -> None:
    write_index(sharded, {"a": TWO, "c": TWO, "ghost": ONE})
    error = refused(sharded, "differ in 3 tensors")
    assert f"'a' should be in {TWO} and is in {ONE}" in error.what
    assert f"'b' is in {ONE} but not in the index" in error.what
    assert f"'ghost' is in the index but not in {ONE}" in error.what
    safetensors.torch.save_file({"c": torch.ones(2), "a": torch.ones(2)}, sharded / TWO)
    write_index(sharded, {"a": ONE, "b": ONE, "c": TWO})
    assert f"'a' should be in {ONE} and is in {ONE}, {TWO}" in refused(sharded, "differ in 1 tensors").what


def test_a_broken_shard_is_named(sharded: Path) -> None:
    os.truncate(sharded / TWO, (sharded / TWO).stat().st_size - 1)
    error = refused(sharded, "it is truncated")
    assert error.file == str(sharded / TWO) and error.tensor == "c"


def test_two_ways_to_store_a_model_are_ambiguous(sharded: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, sharded / "model.safetensors")
    refused(sharded, f"both model.safetensors and {INDEX}")


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "x.pth", "x.PKL"])
@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_are_never_run(tmp_path: Path, name: str, legacy: bool) -> None:
    canary = tmp_path / "canary"
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save({"x": Canary(canary)}, folder / name, _use_new_zipfile_serialization=not legacy)
    error = refused(folder, "pickled weights only")
    assert name in error.what and error.hint is not None and "--allow-pickle" in error.hint
    refused(folder / name, "never read")
    (folder / name).rename(folder / "model.safetensors")
    refused(folder, "never run")
    (folder / "model.safetensors").rename(folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    refused(folder, "never read")
    assert not canary.exists()


def test_folders_without_weights(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no model here")
    refused(tmp_path / "nul\0", "no model here")
    refused(tmp_path / ("x" * 300), "no model here")
    refused(tmp_path, "no .*safetensors file")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    refused(tmp_path, "GGUF")
    refused(tmp_path / "model.gguf", "GGUF")
    (tmp_path / "model.h5").touch()
    refused(tmp_path / "model.h5", "only files named")


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    safetensors.torch.save_file({"x": torch.ones(1)}, outside)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(outside)
    refused(folder, "leaves the model's folder")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../outside.safetensors")
    refused(folder, "leaves the model's folder")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("nowhere")
    refused(folder, "leads nowhere")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("model.safetensors")
    refused(folder, "leads nowhere")
    (folder / "model.safetensors").unlink()
    os.link(outside, folder / "model.safetensors")
    (folder / "config.json").symlink_to("/etc/hostname")
    refused(folder, "leaves the model's folder")


@pytest.mark.parametrize("target", ["../../../models--other--name/blobs/f", "../../secret", "../../blobs/sub/f"])
def test_a_hub_cache_links_to_its_own_blobs_only(tmp_path: Path, target: str) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    link = snapshot / "model.safetensors"
    link.symlink_to(target)
    file = snapshot / target
    Path(os.path.normpath(file)).parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({"x": torch.ones(1)}, os.path.normpath(file))
    refused(snapshot, "leaves the model's folder")


def test_pipes_devices_sockets_and_folders_are_refused_without_waiting(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    os.mkfifo(file)
    refused(tmp_path, "got a pipe")
    refused(file, "got a pipe")
    file.unlink()
    file.mkdir()
    refused(tmp_path, "got a folder")
    file.rmdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(file))
        refused(tmp_path, "cannot be opened|got a socket")
    file.unlink()
    link = tmp_path / "zero.safetensors"
    link.symlink_to("/dev/zero")
    refused(link, "got a device")
    safetensors.torch.save_file({"x": torch.ones(1)}, file)
    for name in ("config.json", "adapter_config.json"):
        os.mkfifo(tmp_path / name)
        refused(tmp_path, "got a pipe")
        (tmp_path / name).unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch(mode=0)
    assert refused(tmp_path, "Permission denied").file == str(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' twice"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 64"),
        (b'{"a": "' + b"x" * limits.JSON_BYTES + b'"}', "at most 4,194,304"),
        (b'{"quantization_config": {"quant_method": "gptq", "bits": 4}}', r"quantised \(gptq\)"),
        (b'{"quantization_config": {"quant_method": "awq"}}', r"quantised \(awq\)"),
        (b'{"quantization_config": "x"}', "quantised"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(content)
    refused(tmp_path, words)


@pytest.mark.parametrize("kept", ["open", "reopened"])
@pytest.mark.parametrize("change", ["cut", "grown", "replaced", "rewritten", "removed", "pipe"])
def test_a_file_that_changes_after_its_header_was_read(tmp_path: Path, kept: str, change: str) -> None:
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"x": torch.ones(1 << 16), "y": torch.ones(3)}, file)
    model = open_checkpoint(tmp_path, "m")
    with TensorReader() as reader:
        if kept == "open":
            reader.read(model.tensors["y"])
        content = file.read_bytes()
        if change == "cut":
            os.truncate(file, len(content) // 2)
        elif change == "grown":
            os.truncate(file, len(content) + 1)
        elif change == "rewritten":
            time.sleep(0.02)
            with file.open("r+b") as stream:
                stream.seek(len(content) - 1)
                stream.write(b"\1")
        else:
            file.unlink()
            if change == "replaced":
                file.write_bytes(content)
            elif change == "pipe":
                os.mkfifo(file)
        if kept == "open" and change in ("replaced", "removed", "pipe"):
            # The descriptor still reads the file whose header was validated: its whole content is intact.
            assert torch.equal(reader.read(model.tensors["x"]), torch.ones(1 << 16))
            return
        for name in ("x", "y", "x"):
            with pytest.raises(SourceError) as caught:
                reader.read(model.tensors[name])
            assert caught.value.tensor == name and caught.value.file == str(file)


def test_truth_values_of_two_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"x": torch.ones(3, dtype=torch.uint8)}, file)
    file.write_bytes(file.read_bytes().replace(b'"U8"', b'"BOOL"').replace(b"  ", b"", 1)[:-1] + b"\2")
    content = file.read_bytes()
    header = content[8:-3].rstrip()
    file.write_bytes(len(header).to_bytes(8, "little") + header + content[-3:])
    info = open_checkpoint(file, "m").tensors["x"]
    with TensorReader() as reader, pytest.raises(SourceError, match="neither 0 nor 1"):
        reader.read(info)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=CASES, deadline=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=64)
    | json_values.map(json.dumps).map(str.encode)
    | st.dictionaries(
        st.sampled_from(["a", "b", "c"]) | st.text(max_size=4),
        st.sampled_from([ONE, TWO, "nowhere.safetensors"])
        | st.text(max_size=8).map(lambda name: name + ".safetensors")
        | json_values,
        max_size=4,
    ).map(lambda value: json.dumps({"weight_map": value}).encode())
)
def test_no_index_escapes_the_error_tree(sharded: Path, content: bytes) -> None:
    (sharded / INDEX).write_bytes(content)
    try:
        assert set(open_checkpoint(sharded, "m").tensors) == set(json.loads(content)["weight_map"])
    except SourceError as error:
        assert error.model == "m"


@settings(max_examples=CASES, deadline=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64) | json_values.map(json.dumps).map(str.encode))
def test_no_settings_escape_the_error_tree(tmp_path: Path, content: bytes) -> None:
    if not (tmp_path / "model.safetensors").exists():
        safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(content)
    try:
        assert isinstance(open_checkpoint(tmp_path, "m").config, dict)
    except SourceError as error:
        assert error.model == "m"


def test_a_tokenizer_larger_than_any_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b'{"model": [' + b"[]," * 2_000_000 + b"0]}")
    with pytest.raises(SourceError, match="has more than 4,000,000 values"):
        read_tokenizer(tmp_path, tmp_path).parsed("tokenizer.json")
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(limits.TOKENIZER_BYTES + 1)
    with pytest.raises(SourceError, match=r"tokenizer.json has 67,108,865 bytes; at most 67,108,864 are read"):
        read_tokenizer(tmp_path, tmp_path)
