"""Runs the survey, each architecture in a process of its own with a time limit."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.measure import say
from benchmarks.studies.architectures.catalogue import Architecture
from benchmarks.studies.architectures.check import check

_SECONDS = 60.0


def run(chosen: Sequence[Architecture]) -> list[dict[str, Any]]:
    """A row for each architecture; one that fails to build or takes too long has a row that says so."""
    _warm(chosen[0])
    rows = []
    for place, architecture in enumerate(chosen, 1):
        rows.append(_apart(architecture))
        say(f"[{place}/{len(chosen)}] {architecture.kind}: {rows[-1]}")
    return rows


def _apart(architecture: Architecture) -> dict[str, Any]:
    # Forked, since importing transformers takes longer than most rows.
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(architecture, sending))
    process.start()
    sending.close()
    try:
        if receiving.poll(_SECONDS):
            return receiving.recv()
        return _failed(architecture, f"took longer than {_SECONDS:.0f} seconds")
    except EOFError:
        return _failed(architecture, "the process died")
    finally:
        process.kill()
        process.join()


def _child(architecture: Architecture, sending: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            row = check(architecture, Path(folder))
            row = json.loads(json.dumps(row).replace(f"{folder}/", ""))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            words = " ".join(str(error).split())[:200]
            row = _failed(architecture, f"{type(error).__name__}: {words} ({Path(place.filename).name}:{place.lineno})")
    sending.send(row)


def _failed(architecture: Architecture, reason: str) -> dict[str, Any]:
    return {"architecture": architecture.kind, "family": architecture.family, "failed": reason}


def _warm(first: Architecture) -> None:
    """Import in this process what every child needs."""
    import transformers  # noqa: PLC0415  (slow to import)

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        check(first, Path(folder))
