"""Which files go into the output next to the weights: the base's, or those of a model that the recipe chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mergeometry.conventions.folders import Kind
from mergeometry.errors import SourceError
from mergeometry.sink.configuration import Rewritten, parsed_configuration, rewritten
from mergeometry.sink.folder_files import FolderFiles, Sidecar
from mergeometry.sink.record_parts import CopiedFile, LeftOut, SidecarRecord
from mergeometry.sink.sidecar_contents import check_contents
from mergeometry.sink.staging import Staging

COPIED = frozenset({Kind.TOKENIZER, Kind.TEMPLATE, Kind.CONFIGURATION, Kind.DOCUMENT})
"""Kinds of files that an output needs next to its weights."""
_TOKENIZER_SETTINGS = "tokenizer_config.json"
_TEMPLATE_KEY = "chat_template"
_WRITTEN = "written for this merge"


@dataclass(frozen=True, slots=True)
class SidecarPlan:
    """What will be copied, what not and why, and what the user should know."""

    files: tuple[Sidecar, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    template: Any = None
    """The chat template to set in the tokenizer's settings; an empty text removes theirs, None leaves it."""
    main: str = ""
    """The subfolder of the model's own config.json, where sentence-transformers keeps it in one."""
    written: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Files that are written in place of any folder's, by their names in the output."""
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """Dotted keys to set in configurations, by their names in the output."""

    @property
    def nbytes(self) -> int:
        """Bytes that the copies take."""
        return sum(file.nbytes for file in self.files) + sum(map(len, self.written.values()))


def sidecar_files(base_folder: Path, chosen: Mapping[Kind, Path] | None = None) -> SidecarPlan:
    """Decide what happens to every file of the base's folder, its sentence-transformers modules included.

    Files of a ``chosen`` kind are taken from the folder given for it in place of the base's.

    Raises:
        SourceError: a file that the output needs is a link out of the folder, not a regular file, too large, or
            malformed: an output without it would not load.
    """
    chosen = chosen or {}
    main, files, left_out, notes = "", [], [], []
    if base_folder.is_dir():
        survey = FolderFiles(base_folder, COPIED - chosen.keys())
        main, files, left_out, notes = survey.main, survey.files, survey.left_out, survey.notes
    else:
        notes.append(f"{base_folder.name} is a single file: no configuration or tokenizer is copied")
    for folder in dict.fromkeys(chosen.values()):
        kinds = frozenset(kind for kind, place in chosen.items() if place == folder)
        survey = FolderFiles(folder, kinds)
        if Kind.CONFIGURATION in kinds and survey.main != main:
            raise SourceError(
                f"the model's encoder lies in {survey.main or 'the folder itself'!r}, the base's in "
                f"{main or 'the folder itself'!r}, so its configuration does not fit the output",
                file=folder,
                hint="leave `config` out, or save both with the same version of sentence-transformers",
            )
        files.extend(replace(file, name=_placed(file.name, survey.main, main)) for file in survey.files)
        notes.extend(survey.notes)
    template = _template(chosen[Kind.TEMPLATE], files) if Kind.TEMPLATE in chosen else None
    return SidecarPlan(tuple(files), tuple(left_out), tuple(notes), template, main)


def with_vocabulary(
    plan: SidecarPlan, files: Mapping[str, bytes | None], values: Mapping[str, Mapping[str, Any]]
) -> SidecarPlan:
    """The same with whole files of a tokenizer, None for one to leave out, and dotted keys of configurations.

    Names are those in the folder of the model's encoder.
    """
    folder = f"{plan.main}/" if plan.main else ""
    placed = {f"{folder}{name}": data for name, data in files.items()}
    kept = tuple(file for file in plan.files if file.name not in placed)
    written = {name: data for name, data in placed.items() if data is not None}
    named = {f"{folder}{name}": keys for name, keys in values.items()}
    return replace(plan, files=kept, written={**plan.written, **written}, values=named)


def with_template(plan: SidecarPlan, template: str) -> SidecarPlan:
    """The same with a chat template that is given by its text."""
    kept = tuple(file for file in plan.files if not file.name.rpartition("/")[2].startswith(_TEMPLATE_KEY))
    settings = any(file.name.endswith(_TOKENIZER_SETTINGS) for file in kept)
    # What transformers writes; the key in the settings is what every version reads.
    written = {} if settings else {f"{plan.main}/{_TEMPLATE_KEY}.jinja".removeprefix("/"): template.encode()}
    return replace(plan, files=kept, template=template if settings else None, written=written)


def check_sidecars(plan: SidecarPlan, code: str | None = None) -> None:
    """Read every file to copy as what loads the output will, before anything expensive.

    Raises:
        SourceError: a file cannot be read, or is malformed.
    """
    for file in plan.files:
        try:
            file.name.encode()
        except UnicodeEncodeError as error:
            raise SourceError(
                "a file to copy cannot be read: its name is not valid Unicode", file=file.source
            ) from error
        check_contents(file.source, file.name)
        if file.name.endswith(".json"):
            rewritten(file.source, file.name, code)


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
    for file in plan.files:
        new = _rewritten(plan, file, code, keys or {})
        if new is None:
            copied.append(CopiedFile(file.name, staging.copy_file(file.name, file.source), ()))
        else:
            copied.append(CopiedFile(file.name, staging.write_file(file.name, new.data), new.changes))
    for name, data in plan.written.items():
        copied.append(CopiedFile(name, staging.write_file(name, data), (_WRITTEN,)))
    changes = [f"{file.name}: {change}" for file in copied for change in file.changes]
    return SidecarRecord(tuple(copied), plan.left_out, (*plan.notes, *changes))


def sidecar_notes(plan: SidecarPlan, *, code: str | None = None) -> tuple[str, ...]:
    """What a merge will tell of the files next to the weights; ``SourceError`` if a configuration is malformed."""
    rewritten_files = [(file.name, _rewritten(plan, file, code, {})) for file in plan.files]
    written = [f"{name}: {_WRITTEN}" for name in plan.written]
    return (
        *plan.notes,
        *written,
        *(f"{name}: {change}" for name, new in rewritten_files if new for change in new.changes),
    )


def _rewritten(plan: SidecarPlan, file: Sidecar, code: str | None, keys: Mapping[str, Any]) -> Rewritten | None:
    wanted = dict(keys) if file.name == (f"{plan.main}/config.json" if plan.main else "config.json") else {}
    if plan.template is not None and file.name.endswith(_TOKENIZER_SETTINGS):
        wanted[_TEMPLATE_KEY] = plan.template or None
    values = plan.values.get(file.name)
    return rewritten(file.source, file.name, code, wanted, values) if file.name.endswith(".json") else None


def _placed(name: str, main: str, wanted: str) -> str:
    """A file's name in the output, where it lies with the encoder."""
    bare = name.removeprefix(f"{main}/") if main else name
    return f"{wanted}/{bare}" if wanted and bare == name.rpartition("/")[2] else bare


def _template(folder: Path, files: Sequence[Sidecar]) -> Any:
    """What the tokenizer's settings must say of the chat template that a folder brings."""
    if any(file.name.rpartition("/")[2].startswith(_TEMPLATE_KEY) for file in files):
        return ""
    settings = FolderFiles(folder, frozenset({Kind.TOKENIZER})).files
    source = next((file.source for file in settings if file.name.endswith(_TOKENIZER_SETTINGS)), None)
    content = parsed_configuration(source) if source else None
    return (content.get(_TEMPLATE_KEY) if isinstance(content, dict) else None) or ""
