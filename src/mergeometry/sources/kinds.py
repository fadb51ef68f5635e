"""Recognises files that are not safetensors, so that the error can say what they are."""

from __future__ import annotations

from pathlib import Path

from mergeometry.errors import SourceError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

CONVERT_HINT = (
    "--allow-pickle (allow_pickle=True in Python) converts it in a process of its own that is given no network; a "
    "pickle may still use a flaw of the unpickler, so allow it for files of people whom you trust"
)

_MAGIC = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes (pickled code, which is never run)", CONVERT_HINT),
    (b"GGUF", "a GGUF file", "de-quantise it to safetensors first"),
    (b"\x89HDF\r\n", "an HDF5 file", "convert it to safetensors first"),
    (b"version https://git-lfs", "a git-lfs pointer, not the weights themselves", "run `git lfs pull` in its folder"),
    (b"<!DOCTYPE", "an HTML page, probably a failed download", "download it again"),
    (b"<html", "an HTML page, probably a failed download", "download it again"),
)


def foreign_format(first_bytes: bytes, file: Path) -> SourceError | None:
    """Name the format of a file whose safetensors header is not valid, from its first bytes; None if unknown."""
    for magic, kind, hint in _MAGIC:
        if first_bytes.startswith(magic):
            return SourceError(f"the file is named as safetensors but is {kind}", file=file, hint=hint)
    # Protocols 2 to 5 begin with the opcode PROTO; the third byte of a real header length is rarely an opcode.
    if first_bytes[:1] == b"\x80" and first_bytes[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return SourceError(
            "the file is named as safetensors but is a Python pickle, which is never run", file=file, hint=CONVERT_HINT
        )
    return None


def refuse_suffix(path: Path) -> None:
    """Raise SourceError if the file's name says that it holds pickled code or another format than safetensors."""
    name = path.name.lower()
    if name.endswith(".safetensors"):
        return
    if name.endswith(PICKLE_SUFFIXES):
        raise SourceError(
            "pickled weights are never read: opening them runs code",
            file=path,
            hint=CONVERT_HINT,
        )
    if name.endswith(".gguf"):
        hint = "write `dequantise: true` in the recipe (--set dequantise=true), or de-quantise it to safetensors first"
        raise SourceError("a GGUF file holds quantised weights", file=path, hint=hint)
    raise SourceError("only files named *.safetensors are read as weights", file=path)
