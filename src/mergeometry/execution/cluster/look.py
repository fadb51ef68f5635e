"""What a node says of itself: its versions, and what it finds of the shared files.

The functions are sent to the nodes as they stand, and import nothing of this package: a node may have another version
of it, or none.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import time
import uuid
from pathlib import Path
from typing import Any

_PATIENCE = 60.0
"""Seconds after which a network file system shows what another machine wrote; NFS keeps names for so long."""

_SHOWN = 3


def software(packages: list[str]) -> dict[str, str]:
    """The versions of packages, of Python, and of the processor's kind, with a digest of this package's own code."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    spec = importlib.util.find_spec("mergeometry")
    digest = hashlib.sha256()
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).rglob("*.py")):
            digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    found["code"] = digest.hexdigest()
    try:
        import torch  # noqa: PLC0415  (seconds)

        found["instructions"] = torch.backends.cpu.get_cpu_capability()
    except Exception as error:
        found["torch"] = f"broken ({type(error).__name__}: {error})"
    return found


def storage(token: str, secret: str) -> dict[str, Any]:
    """What is wrong with the shared folder and the files that its token lists; and the file that was written there."""
    place = Path(token)
    found = read_late(place, secret)
    if isinstance(found, str):
        return {"problems": [f"{found}: {token}"], "answer": None}
    problems, answer = [], place.with_name(f"{place.name}.{uuid.uuid4().hex}")
    try:
        answer.write_text(json.dumps({"secret": secret}), "utf-8")
    except OSError as error:
        problems.append(f"it cannot write there ({error.strerror}): {answer.parent}")
    changed = [text for file, stamp in found["files"] if (text := _changed(file, stamp))]
    problems += changed[:_SHOWN]
    if len(changed) > _SHOWN:
        problems.append(f"and {len(changed) - _SHOWN} more files")
    return {"problems": problems, "answer": answer.name}


def read_late(place: Path, secret: str) -> dict[str, Any] | str:
    """What another machine wrote, once it is there; or why it is not."""
    deadline, waiting = time.monotonic() + _PATIENCE, 0.05
    while True:
        try:
            content = json.loads(place.read_text("utf-8"))
            if content["secret"] == secret:
                return content
            why = "it reads something else than was written"
        except OSError as error:
            why = f"it does not see the output's folder ({error.strerror})"
            if not place.parent.parent.exists():
                return why  # no mount, rather than one that is late
        except ValueError:
            why = "it reads only a part of what was written"
        if time.monotonic() > deadline:
            return why
        time.sleep(waiting)
        waiting = min(2 * waiting, 2.0)


def _changed(file: str, stamp: list[int]) -> str | None:
    try:
        status = os.stat(file)  # noqa: PTH116  (a path of the driver's)
    except OSError as error:
        return f"it cannot open an input ({error.strerror}): {file}"
    if (status.st_ino, status.st_size, status.st_mtime_ns) != tuple(stamp):
        if status.st_size == stamp[1] and status.st_mtime_ns == stamp[2]:
            return f"its file system numbers an input otherwise: {file}"
        return f"it sees another file under an input's path: {file}"
    return None
