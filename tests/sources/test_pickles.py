"""Pickled weights: refused unless allowed, converted in a process that can do little else, and never trusted."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import SourceError
from mergeometry.sources.pickles import child, converted
from tests.helpers.models import random_tensors, tuned, write_adapter, write_model

BASE = random_tensors(0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))


def saved(value: Any, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path, **options)
    return path


def test_without_the_flag_they_are_refused_with_it(tmp_path: Path) -> None:
    write_model(tmp_path / "base", BASE, {"model_type": "toy"})
    saved(tuned(BASE, 1), tmp_path / "one" / "pytorch_model.bin")
    with pytest.raises(SourceError, match="pickled weights only") as caught:
        mg.make_plan(base=tmp_path / "base", models=[tmp_path / "one"], method="average")
    assert "--allow-pickle" in str(caught.value.hint) and "trust" in str(caught.value.hint)


@pytest.mark.suite
def test_allowed_pickles_merge_as_the_same_safetensors(tmp_path: Path) -> None:
    """A base with its files, shards with an index, a wrapped `.pth`, an adapter."""
    base = saved(BASE, tmp_path / "base" / "pytorch_model.bin").parent
    (base / "config.json").write_text('{"model_type": "toy"}')
    first, second = dict(list(tuned(BASE, 1).items())[:3]), dict(list(tuned(BASE, 1).items())[3:])
    saved(first, tmp_path / "one" / "pytorch_model-00001-of-00002.bin")
    saved(second, tmp_path / "one" / "pytorch_model-00002-of-00002.bin")
    weight_map = {
        name: f"pytorch_model-0000{number}-of-00002.bin" for number, part in ((1, first), (2, second)) for name in part
    }
    (tmp_path / "one" / "pytorch_model.bin.index.json").write_text(str({"weight_map": weight_map}).replace("'", '"'))
    saved({"state_dict": tuned(BASE, 2), "epoch": 3, "optimizer": {}}, tmp_path / "two.pth")
    lora = write_adapter(tmp_path / "lora", {"layer.0.dense": (torch.ones(2, 6), torch.ones(8, 2))})
    from safetensors.torch import load_file

    saved(load_file(lora / "adapter_model.safetensors"), lora / "adapter_model.bin")
    (lora / "adapter_model.safetensors").rename(tmp_path / "kept.safetensors")
    models = [tmp_path / "one", tmp_path / "two.pth", lora]
    keys: Any = {"method": "average", "workers": 1}
    record = mg.merge(base=base, models=models, output=tmp_path / "out", allow_pickle=True, **keys)
    (tmp_path / "kept.safetensors").rename(lora / "adapter_model.safetensors")
    plain = [write_model(tmp_path / "plain" / str(seed), tuned(BASE, seed)) for seed in (1, 2)]
    write_model(tmp_path / "plain" / "base", BASE)
    local = mg.merge(base=tmp_path / "plain" / "base", models=[*plain, lora], output=tmp_path / "local", **keys)
    assert record.digest == local.digest
    assert "two.pth: two.pth: the weights are those under 'state_dict'; left out: epoch, optimizer" in record.warnings
    assert "base" in (tmp_path / "out" / "README.md").read_text()
    assert (tmp_path / "out" / "config.json").is_file()
    from tests.helpers.commands import invoke

    given = ("plan", "--base", base, "--model", tmp_path / "two.pth", "--method", "average", "--allow-pickle")
    assert invoke(*given).exit_code == 0


class _Runs:
    def __init__(self, call: Any, *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.given


def _hostile(tmp_path: Path) -> dict[str, Any]:
    return {
        "a call of os.system": _Runs(os.system, f"touch {tmp_path / 'ran'}"),
        "a socket": _Runs(socket.create_connection, ("127.0.0.1", 9)),
        "eval": _Runs(eval, f"open({str(tmp_path / 'ran')!r}, 'w')"),
        "a huge allocation": {"w": _Runs(bytearray, 1 << 42)},
        "a huge expanded tensor": {"w": torch.zeros(1).expand(1 << 40)},
    }


_SUITE = ("a socket", "eval", "a huge allocation", "a huge expanded tensor")


@pytest.mark.parametrize(
    "name", ["a call of os.system", *(pytest.param(one, marks=pytest.mark.suite) for one in _SUITE)]
)
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path: Path, name: str) -> None:
    path = saved(_hostile(tmp_path)[name], tmp_path / "evil" / "pytorch_model.bin")
    with pytest.raises(SourceError, match="the pickled file is refused"):
        converted(path.parent)
    assert not (tmp_path / "ran").exists()
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_what_holds_whatever_the_unpickler_does(tmp_path: Path) -> None:
    """Network and programs are closed to the process itself, should the unpickler have a flaw."""
    import subprocess
    import sys

    script = """
import runpy, sys
child = runpy.run_path(sys.argv[1])
child["_confine"](1000)
import os, socket, subprocess
for use in (lambda: os.system("true"), lambda: subprocess.run(["true"]), lambda: socket.socket(), os.fork,
            lambda: bytearray(1 << 36)):
    try:
        use()
    except BaseException as error:
        print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", script, child.__file__], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Refused"] * 4 + ["MemoryError"]


def test_bombs_are_seen_before_a_process_starts(tmp_path: Path) -> None:
    path = saved({"w": torch.zeros(4)}, tmp_path / "bomb.pt")
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        archive.writestr("archive/data/1", b"\0" * (1 << 22))
    with pytest.raises(SourceError, match="more than it has"):
        converted(path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"w": torch.zeros(2), "step": 3}, r"entries that are no tensors: 'step' \(int\)"),
        ({"model": {"w": torch.zeros(2)}, "state_dict": {"w": torch.zeros(2)}}, "several sets of weights"),
        ({"model": {"w": torch.zeros(2)}, "ema": torch.zeros(2)}, "tensors beside those under 'model': ema"),
        ({3: torch.zeros(2)}, "a tensor is named 3"),
        ([torch.zeros(2)], "holds a list"),
        ({"w": torch.eye(3).to_sparse()}, "which safetensors cannot hold"),
    ],
)
def test_what_is_no_state_dict_is_refused_by_name(tmp_path: Path, value: Any, says: str) -> None:
    loaded = torch.load(saved(value, tmp_path / "x.pt"), weights_only=True)
    with pytest.raises(child.Refused, match=says):
        child._weights(loaded, torch)


@pytest.mark.suite
def test_shared_and_transposed_storages_are_written_as_they_are_meant(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    value = {"a": table, "tied": table, "turned": table.T, "part": table[1:], "half": table.half(), "empty": table[:0]}
    found = converted(saved(value, tmp_path / "x.pt"))
    assert found is not None
    from safetensors.torch import load_file

    loaded = load_file(found[0])
    assert all(torch.equal(loaded[name], tensor) for name, tensor in value.items())
    # The format before torch 1.6, which cannot be mapped into memory.
    old = converted(saved(value, tmp_path / "old.pt", _use_new_zipfile_serialization=False))
    assert old is not None and torch.equal(load_file(old[0])["turned"], table.T)


@pytest.mark.suite
def test_a_conversion_is_kept_and_follows_the_files(tmp_path: Path) -> None:
    path = saved({"w": torch.zeros(2)}, tmp_path / "x.pt")
    first, again = converted(path), converted(path)
    saved({"w": torch.ones(2)}, path)
    assert first == again != converted(path)


@pytest.mark.suite
@pytest.mark.parametrize("harm", ["flipped", "gone", "note"])
def test_a_conversion_that_changed_in_the_cache_is_made_again(tmp_path: Path, harm: str) -> None:
    path = saved({"w": torch.arange(4.0)}, tmp_path / "x.pt")
    first = converted(path)
    assert first is not None
    kept, whole = first[0], first[0].read_bytes()
    if harm == "flipped":
        kept.write_bytes(whole[:-1] + b"\x40")
    elif harm == "gone":
        kept.unlink()
    else:
        kept.write_bytes(whole[:-1] + b"\x40")
        (note,) = kept.parent.parent.glob(".*.contents.json")
        note.unlink()
    assert converted(path) == first and kept.read_bytes() == whole
