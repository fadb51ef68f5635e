"""Which files of the base model's folder go into the output next to the weights, and which never do."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.errors import SourceError, printable
from mergeometry.sink.configuration import parsed_configuration, rewritten
from mergeometry.sink.failures import readable_bytes
from mergeometry.sink.record import CopiedFile, LeftOut, SidecarRecord
from mergeometry.sink.staging import Staging

# The first match wins; a file with a reason is left out.
_RULES: tuple[tuple[str, str | None], ...] = (
    ("*.py", "code is never copied"),
    ("*.pyc", "code is never copied"),
    ("*.so", "code is never copied"),
    *((f"*.{end}", "pickled or foreign weights are never copied") for end in (
        "bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "npy", "npz", "h5", "keras", "msgpack", "onnx",
        "onnx_data", "tflite", "pb", "ot", "gguf", "ggml", "mlmodel",
    )),
    ("*.safetensors", "weights are merged, not copied"),
    ("*.safetensors.index.json", "the output gets its own index"),
    ("*.index.json", "weights are merged, not copied"),
    ("README*", "the output gets its own model card"),
    ("mergeometry.json", "the output gets its own run record"),
    ("adapter_config.json", "the base's own adapter is not part of the output"),
    *((name, None) for name in (
        "config.json", "generation_config.json", "open_clip_config.json", "*preprocessor_config.json",
        "processor_config.json", "*image_processor*.json", "*feature_extractor*.json", "*video_processor*.json",
        "tokenizer*.json", "tokenizer*.model", "tokenizer.txt", "tekken.json", "vocab.*", "vocab-*.json", "merges.txt",
        "bpe.codes", "special_tokens_map.json", "added_tokens.json", "normalizer.json", "chat_template.json",
        "chat_template.jinja", "sentencepiece*.model", "spiece.model", "source.spm", "target.spm",
        "modules.json", "sentence_*_config.json", "config_sentence_transformers.json",
        "LICENSE*", "NOTICE*", "USE_POLICY*",
    )),
)  # fmt: skip
_TRANSFORMER = "Transformer"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One file to copy: where it really lies, and its name in the output."""

    source: Path
    name: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class SidecarPlan:
    """What will be copied, what not and why, and what the user should know."""

    files: tuple[Sidecar, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that the copies take."""
        return sum(file.nbytes for file in self.files)


def sidecar_files(base_folder: Path) -> SidecarPlan:
    """Decide what happens to every file of the base's folder, its sentence-transformers modules included.

    Raises:
        SourceError: a file that the output needs is a link out of the folder, not a regular file, too large, or
            malformed: an output without it would not load.
    """
    if not base_folder.is_dir():
        return SidecarPlan((), (), (f"{base_folder.name} is a single file: no configuration or tokenizer is copied",))
    survey = _Survey(base_folder)
    modules = survey.modules()
    for child in sorted(base_folder.iterdir()):
        if child.name not in modules:
            survey.add(child, child.name)
    for module, kind in sorted(modules.items()):
        survey.add_module(module, kind)
    return SidecarPlan(tuple(survey.files), tuple(survey.left_out), tuple(survey.notes))


def copy_sidecars(
    plan: SidecarPlan, staging: Staging, *, code: str | None = None, keys: Mapping[str, Any] | None = None
) -> SidecarRecord:
    """Copy the planned files; configurations lose references to code and get the output's dtype ``code``.

    ``keys`` are also set in the model's own config.json.

    Raises:
        SourceError: a configuration is malformed.
        OutputError: a copy cannot be written.
    """
    copied: list[CopiedFile] = []
    notes = list(plan.notes)
    for file in plan.files:
        wanted = (keys or {}) if file.name == "config.json" else {}
        new = rewritten(file.source, file.name, code, wanted) if file.name.endswith(".json") else None
        if new is None:
            copied.append(CopiedFile(file.name, staging.copy_file(file.name, file.source), ()))
        else:
            copied.append(CopiedFile(file.name, staging.write_file(file.name, new.data), new.changes))
            notes.extend(f"{file.name}: {change}" for change in new.changes)
    return SidecarRecord(tuple(copied), plan.left_out, tuple(notes))


class _Survey:
    """Goes through a base's folder and notes what happens to each file."""

    def __init__(self, base_folder: Path) -> None:
        self._base = base_folder
        self.files: list[Sidecar] = []
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []

    def modules(self) -> dict[str, str]:
        """Return the kind of each sentence-transformers module that has a sub-folder, by that folder."""
        path = self._base / "modules.json"
        if not path.exists():
            return {}
        content = parsed_configuration(_checked(self._base, path, path.name).source)
        kinds: dict[str, str] = {}
        for module in content if isinstance(content, list) else [None]:
            kind, place = (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
            if not isinstance(kind, str) or not isinstance(place, str):
                raise SourceError("modules.json does not list modules with a type and a path", file=path)
            if not kind.startswith("sentence_transformers."):
                self.notes.append(f"modules.json names {printable(kind)}, code that is not copied")
            if place in ("", "."):
                continue
            if "/" in place or "\\" in place or place == ".." or "\0" in place:
                raise SourceError("modules.json leads out of the model's folder", file=path)
            kinds[place] = kind.rpartition(".")[2]
        return kinds

    def add(self, child: Path, name: str) -> None:
        """Copy or leave out one entry by the rules."""
        if child.is_dir():
            self.left_out.append(LeftOut(f"{name}/", "a sub-folder that no rule knows"))
        elif (reason := _reason(child.name)) is None:
            self.files.append(_checked(self._base, child, name))
        else:
            self.left_out.append(LeftOut(name, reason))

    def add_module(self, module: str, kind: str) -> None:
        """Copy or leave out the files of one sub-folder; one without state, such as Normalize, often has none."""
        folder = self._base / module
        if not folder.is_dir():
            return
        if not folder.resolve().is_relative_to(self._base.resolve()):
            raise SourceError("a folder of the base leads out of it by a symbolic link", file=folder)
        children = sorted(folder.iterdir())
        weights = {child.name for child in children} & {"model.safetensors", "pytorch_model.bin"}
        for child in children:
            name = f"{module}/{child.name}"
            if child.name == "model.safetensors" and kind != _TRANSFORMER:
                self.files.append(_checked(self._base, child, name))
                self.notes.append(f"{name}: the {kind} module's weights are copied from the base, not merged")
            else:
                self.add(child, name)
        if weights == {"pytorch_model.bin"}:
            self.notes.append(f"{module}: the {kind} module's weights are only a pickle, so the output lacks them")


def _reason(name: str) -> str | None:
    for pattern, reason in _RULES:
        if fnmatchcase(name, pattern):
            return reason
    return "a file that no rule knows"


def _checked(base_folder: Path, path: Path, name: str) -> Sidecar:
    """Follow links no further than the folder or its hub cache, and accept nothing but a small enough file."""
    try:
        source = path.resolve(strict=True)
        state = source.stat()
    except (OSError, RuntimeError) as error:
        raise SourceError("a file of the base cannot be reached", file=path) from error
    if not any(source.is_relative_to(place) for place in _own_places(base_folder)):
        raise SourceError(
            "a file of the base is a symbolic link out of its folder",
            file=path,
            hint=f"it leads to {source}; put the file itself there",
        )
    if not stat.S_ISREG(state.st_mode):
        raise SourceError("a file of the base is not a regular file", file=path)
    if state.st_size > limits.SIDECAR_BYTES:
        raise SourceError(
            f"a file of {readable_bytes(state.st_size)} is too large to be copied next to the weights; at most "
            f"{readable_bytes(limits.SIDECAR_BYTES)} are",
            file=path,
        )
    return Sidecar(source, name, state.st_size)


def _own_places(base_folder: Path) -> Iterator[Path]:
    """Yield where links may lead: the folder, and the blobs of a hub cache (``snapshots/REVISION``, ``blobs``)."""
    folder = base_folder.resolve()
    yield folder
    if folder.parent.name == "snapshots":
        yield folder.parent.parent / "blobs"
