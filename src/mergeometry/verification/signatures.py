"""Signatures of outputs in the OpenSSF's model-signing format, by its own library, with a key and without a network."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.errors import MergeometryError, SourceError
from mergeometry.sink.beside import write_beside
from mergeometry.sink.failures import explained
from mergeometry.sink.target import SIGNATURE_NAME, resolved_target
from mergeometry.verification.provenance import intact_folder, write_provenance
from mergeometry.verification.result import Difference
from mergeometry.verification.verify import Progress
from mergeometry.words import install_extra

_ONLY_ECDSA = "`openssl ecparam -name prime256v1 -genkey -noout` makes one, `openssl ec -pubout` its public half"


def sign(output: str | Path, key: str | Path, *, password: str | None = None, progress: Progress | None = None) -> Path:
    """Sign an output with a private key on an elliptic curve; return the signature's file, ``model.sig``.

    The output is verified first, and the statement of its provenance is written, so that the signature covers it.

    Raises:
        SourceError: there is no run record, or the key cannot be used.
        OutputError: the output is not as its record says, is one file, or cannot be written to.
        MergeometryError: the library is not installed.
    """
    signing = _library("signing")
    target = intact_folder(output, progress)
    _readable(key, "private key")
    write_provenance(target)
    with explained("the signature cannot be written", target), tempfile.TemporaryDirectory() as place:
        staged = Path(place) / SIGNATURE_NAME
        if (target / SIGNATURE_NAME).is_symlink():  # it is replaced, and the library refuses a folder with a link
            (target / SIGNATURE_NAME).unlink()
        # The library hands it to one that takes bytes, whatever its annotation says.
        secret: Any = None if password is None else password.encode()
        config = signing.Config().set_hashing_config(_hashing())
        try:
            config.use_elliptic_key_signer(private_key=Path(key), password=secret).sign(target, staged)
        except (ValueError, TypeError) as error:
            raise SourceError(f"the private key cannot be used: {_words(error)}", file=key, hint=_ONLY_ECDSA) from error
        data = staged.read_bytes()
    write_beside(target / SIGNATURE_NAME, data)
    return target / SIGNATURE_NAME


def signature_differences(output: str | Path, key: str | Path) -> list[Difference]:
    """What is wrong with an output's signature: nothing, or why it does not hold.

    Raises:
        SourceError: the public key cannot be read.
        MergeometryError: the library is not installed.
    """
    verifying = _library("verifying")
    target = resolved_target(output)
    _readable(key, "public key")
    if not (target / SIGNATURE_NAME).is_file():
        return [Difference("missing", "file", SIGNATURE_NAME, "the output is not signed")]
    if (target / SIGNATURE_NAME).stat().st_size > limits.SIDECAR_BYTES:
        return [Difference("changed", "file", SIGNATURE_NAME, "it is too large to be a signature")]
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=Path(key)).set_hashing_config(_hashing())
    except (ValueError, TypeError) as error:
        raise SourceError(f"the public key cannot be used: {_words(error)}", file=key, hint=_ONLY_ECDSA) from error
    try:
        config.verify(target, target / SIGNATURE_NAME)
    except Exception as error:  # the library has no error of its own: a malformed file can raise anything
        return [Difference("changed", "file", SIGNATURE_NAME, f"the signature does not hold: {_words(error)}")]
    return []


def _hashing() -> Any:
    """Every file of the folder but the signature, Git's too: nothing lies in an output that is not signed."""
    hashing = _library("hashing")
    return hashing.Config().set_ignored_paths(paths=[SIGNATURE_NAME], ignore_git_paths=False)


def _library(part: str) -> Any:
    try:
        import model_signing  # noqa: PLC0415  (an extra, and a second to import)
    except ImportError as error:
        raise MergeometryError(
            "signatures need the OpenSSF's model-signing, which is not installed", hint=install_extra("signing")
        ) from error
    return getattr(model_signing, part)


def _readable(key: str | Path, what: str) -> None:
    """Refuse what the library would read without end, or wait for; a pipe of the shell, `<(...)`, may hold a key."""
    try:
        state = Path(key).stat()
    except OSError as error:
        raise SourceError(f"the {what} cannot be read: {error.strerror}", file=key) from error
    if not os.access(key, os.R_OK):
        raise SourceError(f"the {what} cannot be read", file=key)
    piped = stat.S_ISFIFO(state.st_mode) and not os.path.lexists(os.path.realpath(key))
    if not (stat.S_ISREG(state.st_mode) or piped) or state.st_size > limits.JSON_BYTES:
        raise SourceError(f"the {what} is not a file of a key", file=key, hint=_ONLY_ECDSA)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
