"""What the output needs next to its weights is opened and parsed before anything is computed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import MergeometryError, OutputError, SourceError
from mergeometry.sink.record import read_record
from mergeometry.sink.sidecar_contents import check_contents
from tests.helpers import models
from tests.helpers.commands import invoke


@pytest.mark.parametrize("name", ["tokenizer_config.json", "config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', '{"a":' + "[" * 100_000])
def test_what_cannot_be_copied_is_found_in_the_plan(tmp_path: Path, name: str, text: str) -> None:
    recipe = {**models.write_family(tmp_path, 2), "method": "average"}
    (tmp_path / "base" / name).write_text(text)
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    planned = invoke("plan", tmp_path / "recipe.yaml")
    assert planned.exit_code == 1 and str(tmp_path / "base" / name) in planned.output, planned.output
    computed: list[Any] = []
    with pytest.raises(SourceError) as caught:
        mg.merge(recipe, tmp_path / "out", workers=1, progress=computed.append)
    assert caught.value.file == str(tmp_path / "base" / name) and not computed and not (tmp_path / "out").exists()


JSON = {
    "cut": b'{"model": ', "empty": b"", "pointer of git-lfs": b"version https://git-lfs.github.com/spec/v1\n",
    "null": b"null", "not UTF-8": b'{"a": "\xe9"}', "utf-16": '{"a": 1}'.encode("utf-16"), "zeros": b'{"a": 1}\0\0',
    "twice": b'{"a": 1, "a": 2}', "half a pair": b'{"a": "\\ud800"}', "deep": b'{"a":' + b"[" * 100_000,
}  # fmt: skip
TEXT = {name: JSON[name] for name in ("pointer of git-lfs", "not UTF-8", "zeros")}
PIECES = {name: JSON[name] for name in ("cut", "empty", "pointer of git-lfs", "zeros")}


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        *((f"{name}.json", JSON) for name in ("tokenizer", "tokenizer_config", "special_tokens_map", "added_tokens")),
        *((f"{name}.json", JSON) for name in ("vocab", "tekken", "chat_template", "normalizer")),
        *((f"{name}config.json", JSON) for name in ("", "generation_", "preprocessor_", "1_Pooling/", "processor_")),
        *((name, JSON) for name in ("modules.json", "config_sentence_transformers.json", "image_processor.json")),
        *((name, TEXT) for name in ("vocab.txt", "merges.txt", "chat_template.jinja", "bpe.codes")),
        *((name, PIECES) for name in ("tokenizer.model", "spiece.model", "source.spm")),
    ],
)
def test_a_malformed_file_to_copy_is_refused_by_name(tmp_path: Path, name: str, contents: dict[str, bytes]) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    for kind, content in contents.items():
        file.write_bytes(content)
        with pytest.raises(SourceError) as caught:
            check_contents(file, name)
        assert caught.value.file == str(file), kind
        assert ("git lfs pull" in str(caught.value)) == (kind == "pointer of git-lfs")


def test_files_of_their_kinds_are_copied(tmp_path: Path) -> None:
    contents = {
        "tokenizer.json": '{"model": {"vocab": {"a": 0}}}', "vocab.json": "[]", "modules.json": "[]",
        "generation_config.json": '{"eta_cutoff": Infinity}', "vocab.txt": "a\n", "chat_template.jinja": "",
        "tokenizer.model": "IQ== 0\nIg== 1\n", "LICENSE": "\0",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        check_contents(tmp_path / name, name)


@pytest.mark.parametrize("name", ["tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"])
def test_a_malformed_tokenizer_of_the_base_alone_stops_the_merge(tmp_path: Path, name: str) -> None:
    recipe = {**models.write_family(tmp_path, 2), "method": "average"}
    (tmp_path / "base" / name).write_bytes(JSON["pointer of git-lfs"])
    with pytest.raises(SourceError) as caught:
        mg.merge(recipe, tmp_path / "out", workers=1)
    assert caught.value.file == str(tmp_path / "base" / name) and not list(tmp_path.glob("*out*"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {**models.write_family(tmp_path, 2), "method": "average"}
    (tmp_path / "base" / "vocab.txt").write_text("a")
    (tmp_path / "base" / "vocab.txt").chmod(0)
    # Root reads every file, so that the answer of the system to anybody else is given here.
    plain = Path.open

    def answered(path: Path, *arguments: Any, **keys: Any) -> Any:
        if path.exists() and path.stat().st_mode & 0o400 == 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plain(path, *arguments, **keys)

    monkeypatch.setattr(Path, "open", answered)
    with pytest.raises(SourceError, match="a file to copy cannot be read") as caught:
        mg.merge(recipe, tmp_path / "out", workers=1)
    assert caught.value.file == str(tmp_path / "base" / "vocab.txt")


@pytest.mark.parametrize(
    ("value", "kept"),
    [({"": "eager", "text": "sdpa"}, True), (["sdpa"], False), ({"text": "someone/kernel"}, False), (3, False)],
)
def test_an_attention_of_any_shape_is_kept_or_removed(tmp_path: Path, value: Any, kept: bool) -> None:
    recipe = {**models.write_family(tmp_path, 2), "method": "average"}
    (tmp_path / "base" / "config.json").write_text(json.dumps({"_attn_implementation": value}))
    mg.merge(recipe, tmp_path / "out", workers=1)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written == ({"_attn_implementation": value} if kept else {})


@pytest.mark.parametrize("path", ["README.md", "vocab.txt"])
def test_a_module_that_is_no_folder_is_found_in_the_plan(tmp_path: Path, path: str) -> None:
    recipe = {**models.write_family(tmp_path, 2), "method": "average"}
    (tmp_path / "base" / "README.md").write_text("a card")
    (tmp_path / "base" / "vocab.txt").write_text("a")
    modules = [{"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Dense"}]
    (tmp_path / "base" / "modules.json").write_text(json.dumps(modules))
    computed: list[Any] = []
    with pytest.raises(MergeometryError, match="module"):
        mg.merge(recipe, tmp_path / "out", workers=1, progress=computed.append)
    assert not computed and not (tmp_path / "out").exists()


def test_a_mount_point_is_refused_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {**models.write_family(tmp_path, 2), "method": "average"}
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "out")
    computed: list[Any] = []
    with pytest.raises(OutputError, match="mount point"):
        mg.merge(recipe, tmp_path / "out", workers=1, overwrite=True, progress=computed.append)
    assert not computed


def test_a_name_that_cannot_be_encoded_merges_as_any_other(tmp_path: Path) -> None:
    recipe = models.write_family(tmp_path, 2)
    named = [{"path": path, "name": f"task\ud800{place}"} for place, path in enumerate(recipe["models"])]
    run = mg.merge({**recipe, "models": named, "method": "average"}, tmp_path / "out", workers=1)
    assert read_record(tmp_path / "out").digest == run.digest
    (tmp_path / "out" / "README.md").read_text("utf-8")
