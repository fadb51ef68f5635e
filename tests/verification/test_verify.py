"""An output is held against its run record: every file, every tensor, every input, all differences at once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.sink.target import ATTESTATIONS
from tests.helpers.commands import invoke
from tests.helpers.models import loaded, random_tensors, tuned, write_adapter, write_family, write_model, write_shards

SHAPES = {"embed.weight": (400, 400), "layer.0.dense.weight": (400, 400)}
"""Two tensors of 640 kB, which are two files of at most 1 MB."""
HEAD = {"classifier.weight": (3, 400)}
EXPERTS = {
    "model.layers.0.mlp.experts.gate_up_proj": (4, 12, 8),
    "model.layers.0.mlp.experts.down_proj": (4, 8, 6),
    "norm.weight": (8,),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge into several files, with a configuration, heads and a card, beside its inputs."""
    folder = tmp_path_factory.mktemp("verify")
    base = random_tensors(0, shapes=SHAPES)
    write_model(folder / "base", base, {"model_type": "toy"})
    (folder / "base" / "tokenizer.json").write_text('{"model": {}}')
    for number in range(2):
        head = random_tensors(number, shapes=HEAD)
        write_shards(folder / f"task{number}", {**tuned(base, number), **head}, 2, {"model_type": "toy"})
    recipe = {
        "base": str(folder / "base"), "models": [str(folder / f"task{number}") for number in range(2)],
        "method": "ties", "heads": ["classifier.*"], "output": {"shard_size": 1_000_000},
    }  # fmt: skip
    mg.merge(recipe, output=folder / "out")
    return folder


@pytest.fixture
def family(written: Path, tmp_path: Path) -> Path:
    """A copy to change; the record still names the first inputs."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


def changed(found: mg.Verification) -> set[tuple[str, str, str]]:
    return {(one.kind, one.what, one.name) for one in found.differences}


def test_what_was_written_agrees(written: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    found = mg.verify(written / "out", inputs=True, progress=lambda *call: calls.append(call))
    assert found.ok and found.differences == () and found.notes == ()
    assert (found.tensors, found.inputs) == (2, 3)
    whole = sum(path.stat().st_size for path in (written / "out").rglob("*") if path.name != "mergeometry.json")
    assert found.bytes_hashed > whole, "all of the output, and the inputs' tensors"
    assert calls[-1][1] == found.bytes_hashed <= calls[-1][2]


def _flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def _metadata(path: Path) -> None:
    """The same tensors under other metadata."""
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata={"format": "pt", "author": "me"})


def _add_tensor(path: Path) -> None:
    tensors = {**safetensors.torch.load_file(path), "more": torch.zeros(2)}
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


SHARD = "model-00001-of-00002.safetensors"
TAMPERING: dict[str, tuple[Callable[[Path], Any], set[tuple[str, str, str]]]] = {
    "a tensor": (lambda out: _flip(out / SHARD), {("changed", "tensor", "embed.weight")}),
    "metadata": (lambda out: _metadata(out / SHARD), {("changed", "file", SHARD)}),
    "one more tensor": (
        lambda out: _add_tensor(out / SHARD), {("changed", "file", SHARD), ("extra", "tensor", "more")},
    ),
    "a file cut": (lambda out: os.truncate(out / SHARD, 1_000), {("changed", "file", SHARD)}),
    "a file gone": (lambda out: (out / SHARD).unlink(), {("missing", "file", SHARD)}),
    "a configuration": (lambda out: _flip(out / "config.json", 0), {("changed", "file", "config.json")}),
    "a head": (
        lambda out: _flip(out / "heads" / "task0.safetensors"), {("changed", "file", "heads/task0.safetensors")},
    ),
    "an index": (
        lambda out: _flip(out / "model.safetensors.index.json"), {("changed", "file", "model.safetensors.index.json")},
    ),
    "the card": (lambda out: (out / "README.md").write_text("mine"), {("changed", "file", "README.md")}),
    "files added": (
        lambda out: ((out / "pytorch_model.bin").write_bytes(b""), (out / "more").mkdir(), (out / "more/x").touch()),
        {("extra", "file", "pytorch_model.bin"), ("extra", "file", "more/x")},
    ),
    "a link in place of a file": (
        lambda out: ((out / "config.json").rename(out.parent / "elsewhere"),
                     (out / "config.json").symlink_to(out.parent / "elsewhere")),
        {("changed", "file", "config.json")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_one_difference(family: Path, name: str) -> None:
    tamper, expected = TAMPERING[name]
    tamper(family / "out")
    assert changed(mg.verify(family / "out")) == expected


def test_all_differences_at_once_and_the_status(family: Path) -> None:
    out = family / "out"
    _flip(out / SHARD)
    _flip(out / "tokenizer.json")
    (out / "heads" / "task1.safetensors").unlink()
    (out / "[b]\x1b[31m.py").touch()
    done = invoke("verify", out, "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and document["ok"] is False
    assert {(one["kind"], one["name"]) for one in document["differences"]} == {
        ("changed", "embed.weight"), ("changed", "tokenizer.json"), ("missing", "heads/task1.safetensors"),
        ("extra", "[b]\x1b[31m.py"),
    }  # fmt: skip
    shown = invoke("verify", out)
    assert shown.exit_code == 1 and "4 differences" in shown.stdout and "\x1b" not in shown.stdout
    assert "[b]" in shown.stdout
    shutil.rmtree(out)
    missing = invoke("verify", out)
    assert missing.exit_code == 1 and "the run record cannot be read" in missing.stderr


def test_what_tells_of_the_merge_is_no_addition(family: Path) -> None:
    for name in ATTESTATIONS:
        (family / "out" / name).write_text("{}")
    assert mg.verify(family / "out").ok


def test_a_record_that_was_changed_itself(family: Path) -> None:
    path = family / "out" / "mergeometry.json"
    record = json.loads(path.read_text())
    record["tensors"][0]["digest"] = record["tensors"][1]["digest"]
    path.write_text(json.dumps(record))
    kinds = {(one.kind, one.what) for one in mg.verify(family / "out").differences}
    assert kinds == {("changed", "record"), ("changed", "tensor")}


def test_a_record_of_an_earlier_version(family: Path) -> None:
    path = family / "out" / "mergeometry.json"
    record = json.loads(path.read_text())
    for key in ("contents", "timings", "decisions", "unread"):
        record.pop(key, None)
    path.write_text(json.dumps(record))
    found = mg.verify(family / "out")
    assert found.ok and any("README.md" in note for note in found.notes)
    _flip(family / "out" / SHARD)
    _flip(family / "out" / "tokenizer.json")
    assert changed(mg.verify(family / "out")) == {("changed", "tensor", "embed.weight"),
                                                  ("changed", "file", "tokenizer.json")}  # fmt: skip


def test_a_record_of_odd_types_is_no_traceback(family: Path) -> None:
    path = family / "out" / "mergeometry.json"
    record = json.loads(path.read_text())
    record["contents"]["README.md"]["bytes"], record["unread"] = "many", {"base": 5}
    path.write_text(json.dumps(record))
    assert changed(mg.verify(family / "out", inputs=True)) == {("changed", "file", "README.md")}


def test_inputs_that_changed_and_inputs_that_are_gone(tmp_path: Path) -> None:
    inputs = write_family(tmp_path, count=2)
    mg.merge({**inputs, "method": "average"}, output=tmp_path / "out")
    _flip(tmp_path / "task1" / "model.safetensors")
    assert mg.verify(tmp_path / "out").ok
    found = mg.verify(tmp_path / "out", inputs=True)
    assert changed(found) == {("changed", "input", "task1")}
    shutil.rmtree(tmp_path / "task0")
    shutil.rmtree(tmp_path / "base")
    found = mg.verify(tmp_path / "out", inputs=True)
    assert changed(found) == {("missing", "input", "base"), ("missing", "input", "task0")} and found.notes


def test_inputs_of_every_kind_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters, a base of which part is not read, stacked experts, an adapter within a model; paths are relative."""
    monkeypatch.chdir(tmp_path)
    base = random_tensors(0)
    write_model(Path("base"), base)
    write_model(Path("full"), {**tuned(base, 1), "rotary_emb.inv_freq": torch.ones(4)})
    for number in range(2):
        generator = torch.Generator().manual_seed(number)
        factors = {"layer.0.dense": (torch.randn(2, 6, generator=generator), torch.randn(8, 2, generator=generator))}
        write_adapter(Path(f"lora{number}"), factors)
    tensors = random_tensors(0, shapes=EXPERTS)
    for number, model in enumerate((tensors, tuned(tensors, 1), tuned(tensors, 2))):
        write_model(Path(f"experts{number}"), model)
    recipes: dict[str, dict[str, Any]] = {
        "adapters": {"models": ["lora0", "lora1"], "method": "tsv_m", "output": {"adapter": True}},
        "mixed": {"models": ["full", "lora0", "full+lora1"], "method": "task_arithmetic"},
        "experts": {"base": "experts0", "models": ["experts1", "experts2"], "method": "tsv_m"},
    }
    for name, recipe in recipes.items():
        run = mg.merge({"base": "base", **recipe}, output=name, workers=1)
        assert name != "experts" or run.decisions["routes"]["slices"] == 2
        monkeypatch.chdir("/")
        found = mg.verify(tmp_path / name, inputs=True)
        assert found.ok and found.inputs, (name, found.differences)
        monkeypatch.chdir(tmp_path)
    assert loaded(tmp_path / "mixed").keys() == base.keys()


def test_one_file(tmp_path: Path) -> None:
    base = random_tensors(0)
    for name, tensors in (("base", base), ("first", tuned(base, 1))):
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
    output = tmp_path / "merged.safetensors"
    mg.merge(base=tmp_path / "base.safetensors", models=[tmp_path / "first.safetensors"], method="ties", output=output)
    assert mg.verify(output, inputs=True).ok
    _flip(output)
    assert not mg.verify(output).ok
    output.unlink()
    assert changed(mg.verify(output)) == {("missing", "file", "merged.safetensors")}


def test_names_of_a_record_that_lead_out_are_not_opened(written: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(written / "out", tmp_path / "out"))
    (tmp_path / "secret.txt").write_text("secret")
    path = out / "mergeometry.json"
    record = json.loads(path.read_text())
    names = ["../secret.txt", "/dev/zero"]
    record["files"] += names
    record["contents"] |= {name: {"bytes": 6, "digest": "sha256:00"} for name in names}
    path.write_text(json.dumps(record))
    differences = {(one.kind, one.name) for one in mg.verify(out).differences}
    assert differences == {("missing", name) for name in names}
