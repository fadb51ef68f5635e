"""Which of the base's files are copied, changed, left out or refused."""

import json
import os

import pytest

from mergeometry import limits
from mergeometry.errors import SourceError
from mergeometry.sink import OutputTensor, Staging, copy_sidecars, lay_out, sidecar_files

COPIED = [
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.txt",
    "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "sentencepiece.bpe.model", "spiece.model", "preprocessor_config.json",
    "processor_config.json", "image_processor_config.json", "video_preprocessor_config.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "open_clip_config.json", "LICENSE",
]  # fmt: skip
LEFT = [
    "modeling_custom.py", "tokenizer.py", "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "x.pkl",
    "tf_model.h5", "flax_model.msgpack", "model.onnx", "model.safetensors", "model.safetensors.index.json",
    "pytorch_model.bin.index.json", "README.md", "mergeometry.json", "notes.txt", ".gitattributes", "vocab.pkl",
    "tokenizer.bin", "adapter_config.json", "vocab.PKL", "LICENSE.PY", "Tokenizer.Py", "config.BIN",
]  # fmt: skip
MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
    {"path": "", "type": "custom_module.Thing"},
]


def copy(base, target, code=None):
    with Staging(target) as staging:
        staging.create(lay_out([OutputTensor("x", "F32", (1,))], shard_size=9), "f")
        record = copy_sidecars(sidecar_files(base), staging, code=code)
        staging.folder.rename(target.parent / "kept")
    return record, target.parent / "kept"


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    for sub in ("1_Pooling", "2_Dense", "onnx"):
        (folder / sub).mkdir(parents=True)
        (folder / sub / "config.json").write_text("{}")
    for name in [*COPIED, *LEFT]:
        (folder / name).write_text("{}")
    (folder / "modules.json").write_text(json.dumps(MODULES))
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"dense weights")
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"canary")
    return folder


def test_every_file_is_copied_or_named_with_a_reason(base, tmp_path):
    record, folder = copy(base, tmp_path / "out")
    expected = {*COPIED, "1_Pooling/config.json", "2_Dense/config.json"}
    assert {file.name for file in record.copied} == expected
    assert {entry.name for entry in record.left_out} == {
        *LEFT, "onnx/", "2_Dense/pytorch_model.bin", "2_Dense/model.safetensors"
    }  # fmt: skip
    assert all(entry.reason for entry in record.left_out)
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == expected | {"model.safetensors"}
    assert any("custom_module.Thing" in note for note in record.notes)
    assert sidecar_files(base).nbytes > 0


def test_code_and_dtype_in_configurations(base, tmp_path):
    config = {
        "model_type": "x",
        "auto_map": {"AutoModel": "modeling_custom.Model"},
        "_attn_implementation": "kernels/somebody:attention",
        "torch_dtype": "float32",
        "text_config": {"dtype": "float16", "attn_implementation": "sdpa", "auto_map": {}},
        "id2label": {"0": "größe"},
    }
    (base / "config.json").write_text(json.dumps(config))
    (base / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["x.Y", None]}}))
    (base / "generation_config.json").write_text('{"torch_dtype":  "bfloat16"}')
    record, folder = copy(base, tmp_path / "out", code="BF16")
    assert json.loads((folder / "config.json").read_text()) == {
        "model_type": "x",
        "torch_dtype": "bfloat16",
        "text_config": {"dtype": "bfloat16", "attn_implementation": "sdpa"},
        "id2label": {"0": "größe"},
    }
    assert json.loads((folder / "tokenizer_config.json").read_text()) == {}
    assert (folder / "generation_config.json").read_text() == '{"torch_dtype":  "bfloat16"}'
    changes = {file.name: file.changes for file in record.copied}
    assert len(changes["config.json"]) == 4 and not changes["generation_config.json"]
    text = "\n".join(record.notes)
    assert "config.json: auto_map removed" in text and "kernels/somebody:attention" in text
    assert "from float32 to bfloat16" in text


@pytest.mark.parametrize(
    "content", ["{", '{"a": 1, "a": 2}', "[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000, "\xff"]
)
def test_malformed_configuration_is_named(base, tmp_path, content):
    (base / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(SourceError, match="configuration") as caught:
        copy(base, tmp_path / "out")
    assert str(caught.value.file).endswith("config.json")
    assert not (tmp_path / "out").exists()


def test_too_large(base, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "SIDECAR_BYTES", 3)
    (base / "vocab.txt").write_text("four")
    (base / "notes.txt").write_text("large but not wanted")
    with pytest.raises(SourceError, match="too large"):
        sidecar_files(base)
    monkeypatch.undo()
    monkeypatch.setattr(limits, "JSON_BYTES", 3)
    (base / "config.json").write_text("{  }")
    with pytest.raises(SourceError):
        copy(base, tmp_path / "out")


def test_links_out_of_the_folder_and_strange_files_are_refused(base, tmp_path):
    outside = tmp_path / "secret.json"
    outside.write_text("{}")
    path = base / "tokenizer.json"
    path.unlink()
    for make in (
        lambda: path.symlink_to(outside),
        lambda: path.symlink_to(tmp_path / "missing"),
        lambda: path.symlink_to(path),
        lambda: path.symlink_to("/dev/null"),
        lambda: os.mkfifo(path),
    ):
        make()
        with pytest.raises(SourceError):
            sidecar_files(base)
        path.unlink()
    path.symlink_to("vocab.json")
    assert "tokenizer.json" in {file.name for file in sidecar_files(base).files}
    (base / "2_Dense").rename(tmp_path / "2_Dense")
    (base / "2_Dense").symlink_to(tmp_path / "2_Dense")
    with pytest.raises(SourceError):
        sidecar_files(base)


@pytest.mark.parametrize("place", ["..", "../x", "/etc", "a/b", "a\\b"])
def test_modules_that_lead_out_are_refused(base, place):
    (base / "modules.json").write_text(json.dumps([{"path": place, "type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(SourceError, match="leads out"):
        sidecar_files(base)


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"path": 1, "type": "x"}]'])
def test_malformed_modules_are_refused(base, content):
    (base / "modules.json").write_text(content)
    with pytest.raises(SourceError, match="modules"):
        sidecar_files(base)


def test_hub_cache_links_into_its_own_blobs(tmp_path):
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "abc"
    (cache / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (cache / "blobs" / "0123").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/0123")
    assert [file.name for file in sidecar_files(snapshot).files] == ["config.json"]
    (cache / "elsewhere").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to("../../elsewhere")
    with pytest.raises(SourceError, match="symbolic link"):
        sidecar_files(snapshot)


def test_a_single_file_as_base_is_told(tmp_path):
    (tmp_path / "base.safetensors").write_bytes(b"")
    plan = sidecar_files(tmp_path / "base.safetensors")
    assert not plan.files and "single file" in plan.notes[0]
