"""What learning reads of one task: its inputs, without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mergeometry.errors import DataError, MergeometryError
from mergeometry.inputs.images import check_images, images_and_notes
from mergeometry.inputs.texts import texts_and_notes
from mergeometry.recipe.inputs import AdaptTask

Kind = Literal["texts", "images"]


@dataclass(frozen=True)
class UnlabelledData:
    """Texts, or images, by their paths or as the bytes of their files, in the source's order.

    ``notes`` say what was left out; ``digest`` is the SHA-256 of all contents, by which a record and a resumed run
    recognise the same data. ``made`` says how they were made where they were not read.
    """

    items: tuple[str, ...] | tuple[Path, ...] | tuple[bytes, ...]
    kind: Kind
    notes: tuple[str, ...]
    digest: str
    made: Mapping[str, Any] | None = None


def read_unlabelled(task: AdaptTask, kind: Kind) -> UnlabelledData:
    """Read a task's data as the texts or images that its encoder takes.

    Raises:
        DataError: data are missing, malformed or of another kind, as for `read_texts` and `read_images`; the error
            names the task.
        SourceError: a file cannot be opened; the error names the task.
    """
    with naming(task.name):
        if task.made:
            hint = "give the task a file, a folder or a data set"
            raise DataError("`synthetic` inputs are made where a merge is learned, and nowhere else", hint=hint)
        if kind == "texts":
            texts, notes = texts_and_notes(task.data)
            return UnlabelledData(texts, kind, notes, digest_of_texts(texts))
        images, notes = images_and_notes(task.data)
        digest, converted = check_images(images)
        return UnlabelledData(images, kind, (*notes, *converted), digest)


def unlabelled_texts(texts: Sequence[str]) -> UnlabelledData:
    """Return texts in memory as data to learn on; DataError if there are none or one is not valid Unicode."""
    if not texts:
        raise DataError("there are no texts")
    return UnlabelledData(tuple(texts), "texts", (), digest_of_texts(texts))


def digest_of_texts(texts: Sequence[str]) -> str:
    """Return the SHA-256 of the texts in their order; the boundaries between texts count."""
    digest = hashlib.sha256(b"texts")
    for number, text in enumerate(texts, 1):
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"text {number:,} holds half a surrogate pair, which is not a character") from error
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


@contextmanager
def naming(task: str) -> Iterator[None]:
    """Add the task's name, which is its model's, to every error; any other failure of the disk becomes one."""
    try:
        yield
    except MergeometryError as error:
        error.model = error.model or task
        raise
    except OSError as error:
        reason = f"the operating system refuses: {error.strerror}"
        raise DataError(reason, model=task, file=error.filename) from error
