"""Code of a base is never run, and its weights are those that the merge reads: no other file of the folder counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from mergeometry.cli.app import app
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.errors import DataError
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sources import open_checkpoint
from tests.helpers import learning_models
from tests.helpers.encoder_models import encoder_of, on_disk, texts
from tests.helpers.labelled_tasks import written

CODE = "from pathlib import Path\nPath({!r}).touch()\n{}"
MODEL = "from transformers import BertConfig as Config, BertModel as Model\n"
AUTO_MAP = {"AutoConfig": "code.Config", "AutoModel": "code.Model", "AutoTokenizer": ["code.Tokenizer", None]}


def changed(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **keys}))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tiny models whose base brings code and asks for it in its configuration."""
    folder = tmp_path_factory.mktemp("coded")
    inputs = learning_models.family(folder, count=8)
    changed(folder / "base" / "config.json", auto_map=AUTO_MAP)
    (folder / "base" / "code.py").write_text(CODE.format(str(folder / "ran"), MODEL))
    written(folder, inputs)
    tasks = {task["name"]: task["data"] for task in inputs["adapt"]["tasks"]}
    common = {"base": inputs["base"], "models": inputs["models"]}
    (folder / "adapt.json").write_text(json.dumps({**inputs, "method": "adamerging"}))
    (folder / "data.json").write_text(json.dumps({**common, "method": "regmean", "data": {"tasks": tasks}}))
    (folder / "plain.json").write_text(json.dumps({**common, "method": "tsv_m"}))
    return {**inputs, "folder": folder}


@pytest.mark.parametrize(
    "command",
    [
        "plan adapt.json", "plan data.json", "merge adapt.json -o out", "merge data.json -o out",
        "compare recipe.yaml --tasks tasks.yaml -o compared", "evaluate base --tasks tasks.yaml",
        "evaluate task0 --base base --tasks tasks.yaml",
    ],
)  # fmt: skip
def test_code_of_the_base_is_not_run_whatever_is_answered(
    family: dict[str, Any], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(family["folder"])
    done = CliRunner().invoke(app, command.split(), input="y\n" * 9)
    assert done.exit_code == 1, done.output
    assert "config.json leads to code outside transformers (auto_map), which is never run" in done.output
    assert not (family["folder"] / "ran").exists() and not (family["folder"] / "out").exists()


def test_a_merge_that_does_not_run_the_model_needs_no_change(
    family: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(family["folder"])
    done = CliRunner().invoke(app, ["merge", "plain.json", "-o", "plain"])
    assert done.exit_code == 0, done.output
    assert "auto_map" not in json.loads(Path("plain/config.json").read_text()) and not Path("plain/code.py").exists()
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("base", "file", "keys", "named"),
    [
        ("bert", "tokenizer_config.json", {"auto_map": AUTO_MAP}, "auto_map"),
        ("vit", "preprocessor_config.json", {"auto_map": AUTO_MAP}, "auto_map"),
        ("bert", "config.json", {"inner": [{"auto_map": AUTO_MAP}]}, "auto_map"),
        ("bert", "config.json", {"_attn_implementation": "someone/kernel"}, "_attn_implementation"),
        ("bert", "config.json", {"attn_implementation": {"text": "someone/kernel"}}, "attn_implementation"),
        ("bert", "config.json", {"attn_implementation": ["eager"]}, "attn_implementation"),
    ],
)
def test_every_way_to_code_is_refused_by_name(
    folders: Any, tmp_path: Path, base: str, file: str, keys: dict[str, Any], named: str
) -> None:
    folder = shutil.copytree(folders(base), tmp_path / "base")
    changed(folder / file, **keys)
    with pytest.raises(DataError, match=rf"{file} leads to code outside transformers \({named}\)") as caught:
        encoder_of(folder)
    assert caught.value.file == str(folder / file) and (named in str(caught.value.hint) or "eager" in str(caught.value))


def test_what_leads_to_no_code_is_taken(folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders("bert"), tmp_path / "base")
    changed(folder / "config.json", _attn_implementation={"": "sdpa"}, auto_map={})
    assert runnable_kind(open_checkpoint(folder, "base"), EncoderOptions()) == "text"


@pytest.mark.parametrize("chosen", ["weights", "index", "configured"])
def test_the_model_that_runs_has_the_weights_that_the_merge_reads(folders: Any, tmp_path: Path, chosen: str) -> None:
    """In the same folder lies another model, which transformers would prefer: a pickle, or what config.json names."""
    folder = shutil.copytree(folders("bert"), tmp_path / "base")
    right = on_disk(folder)
    wrong = {name: torch.zeros_like(tensor) for name, tensor in right.items()}
    torch.save(wrong, folder / "pytorch_model.bin")
    if chosen == "configured":
        safetensors.torch.save_file(wrong, folder / "other.safetensors")
        changed(folder / "config.json", transformers_weights="other.safetensors")
    else:
        (folder / "model.safetensors").rename(folder / "weights.safetensors")
    if chosen == "index":
        index = {"weight_map": dict.fromkeys(right, "weights.safetensors")}
        (folder / "other.safetensors.index.json").write_text(json.dumps(index))
    encoder = encoder_of(folder)
    for name, parameter in encoder.names.items():
        if parameter is not None:
            assert torch.equal(encoder.base(parameter), right[name]), name
    assert len(encoder.prepare(texts())) == 4
