"""``--log json``: one JSON object per line on standard error for each event, and nothing else there."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from threading import Lock, Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.show import size
from mergeometry.cli.streams import say
from mergeometry.errors import printable
from mergeometry.execution.telling import untold
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison
    from mergeometry.execution.telling import Tell
    from mergeometry.learning.state import Point
    from mergeometry.plan import Plan, TensorTask
    from mergeometry.sink import RunRecord

_SURROGATES = re.compile("[\ud800-\udfff]")
_STANDARD_ERROR = 2
_PATIENCE = 1.0
"""Seconds to wait at the end for what other processes still write to standard error."""


class LogForm(StrEnum):
    """What standard error holds."""

    TEXT = "text"
    JSON = "json"


LogOption = Annotated[
    LogForm,
    typer.Option(
        "--log",
        help="What standard error holds: text for people, or json, one object per line and event (docs/unattended.md).",
    ),
]


class Events:
    """Writes events; ``descriptor`` is the file to write to, or None for Python's standard error."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self._lock = Lock()

    def __call__(self, event: str, facts: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Write one event; what cannot be written is lost, since nothing must stop the work."""
        head = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        line = json.dumps(_plain({**head, **(facts or {}), **more}), allow_nan=False) + "\n"
        with self._lock, suppress(OSError, ValueError):
            if self._descriptor is None:
                sys.stderr.write(line)
                sys.stderr.flush()
            else:
                rest = memoryview(line.encode())
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]


@contextmanager
def events(form: LogForm) -> Iterator[Events | None]:
    """Give what writes events for ``--log json``, and None for text.

    Whatever else is written to standard error meanwhile, by any library or worker process, becomes an event too.
    """
    if form is LogForm.TEXT:
        yield None
    elif not _is_standard_error():
        yield Events()
    else:
        with _captured() as written:
            yield written


@contextmanager
def _captured() -> Iterator[Events]:
    sys.stderr.flush()
    real = os.dup(_STANDARD_ERROR)
    out, into = os.pipe()
    os.dup2(into, _STANDARD_ERROR)
    os.close(into)
    written = Events(real)
    reader = Thread(target=_read, args=(out, written), daemon=True)
    reader.start()
    try:
        yield written
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(real, _STANDARD_ERROR)  # the pipe ends, unless a process that is about to end still holds it
        reader.join(_PATIENCE)
        os.close(real) if not reader.is_alive() else None


def _read(descriptor: int, written: Events) -> None:
    with os.fdopen(descriptor, "r", encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            if line.strip():
                written("output", text=line.rstrip("\r\n"))


def _is_standard_error() -> bool:
    try:
        return sys.stderr.fileno() == _STANDARD_ERROR
    except (OSError, ValueError, AttributeError):
        return False


def started(command: str) -> dict[str, Any]:
    """The facts of a command that begins."""
    return {"command": command, "version": version("mergeometry"), "process": os.getpid()}


def published_facts(record: RunRecord) -> dict[str, Any]:
    """The facts of an output that is in its place."""
    return {
        "digest": record.digest,
        "tensors": len(record.tensors),
        "bytes_written": record.totals.bytes_written,
        "peak_memory_bytes": record.totals.peak_memory,
        "seconds": round(record.totals.seconds, 3),
        "notes": [*record.warnings, *record.sidecars.notes],
    }


def compared(comparison: Comparison) -> dict[str, Any]:
    """The facts of a comparison that is done."""
    best = max(comparison.rows, key=lambda row: row.at_best.mean, default=None)
    return {
        "methods": [row.name for row in comparison.rows],
        "best": None if best is None else best.name,
        "measure": comparison.measure,
        "seconds": round(comparison.seconds, 3),
        "notes": list(comparison.notes),
    }


def planned(plan: Plan) -> dict[str, Any]:
    """The facts of a plan."""
    return {
        "method": plan.recipe.method.name,
        "models": [model.label for model in plan.models],
        "tensors": len(plan.tasks),
        "bytes_read": plan.bytes_read,
        "bytes_written": plan.bytes_written,
        "estimated_seconds": round(plan.seconds(1), 3),
        "notes": list(plan.notes),
    }


def telling(written: Events | None, *, hidden: bool) -> Tell:
    """What a run tells of an earlier one's work: as events, in a line on standard error, or not at all."""
    if written is not None:
        return written
    return untold if hidden else _say_told


def _say_told(event: str, facts: Mapping[str, Any], /) -> None:
    if event == "discarded":
        lost = [counted(facts["tensors"], "finished tensor")] if facts["tensors"] else []
        lost += [size(facts["bytes"])] if facts["bytes"] else []
        amount = f" ({', '.join(lost)})" if lost else ""
        say(f"note: what an earlier run left is discarded{amount}: {printable(facts['reason'])}")
    elif event == "resumed":
        say(f"resuming: {counted(facts['tensors'], 'tensor')} of an earlier run are taken as they are")
    elif event == "page":
        say(f"note: {printable(facts['problem'])}")


class Tensors:
    """Writes an event for each finished tensor, with how much of the work is done by then."""

    def __init__(self, plan: Plan, written: Events) -> None:
        waiting = plan.ordered()
        self._written, self._count = written, len(waiting)
        self._whole, self._seconds, self._done = sum(task.cost.seconds for task in waiting), 0.0, 0

    def __call__(self, task: TensorTask) -> None:
        """One more is finished."""
        self._seconds, self._done = self._seconds + task.cost.seconds, self._done + 1
        share = min(1.0, self._seconds / self._whole) if self._whole else self._done / self._count
        facts = {"tensor": task.name, "method": task.steps, "route": task.route}
        self._written("tensor", facts, done=self._done, total=self._count, share=round(share, 4))


class Steps:
    """Writes an event for steps of one kind, at most one per second and one for the last."""

    def __init__(self, written: Events, event: str) -> None:
        self._written, self._event, self._last = written, event, -math.inf

    def __call__(self, text: str, done: int, total: int) -> None:
        """A step is done."""
        self._write({"text": text, "done": done, "total": total}, done >= total)

    def nbytes(self, file: str, done: int, total: int) -> None:
        """So many bytes are there."""
        self._write({"file": file, "bytes": done, "total_bytes": total}, done >= total)

    def point(self, point: Point) -> None:
        """A step of learning."""
        facts = {"step": point.step, "loss": point.loss, "held_out": point.held_out}
        self._write(facts, point.held_out is not None)

    def _write(self, facts: Mapping[str, Any], always: bool) -> None:
        now = time.monotonic()
        if always or now - self._last >= 1:
            self._last = now
            self._written(self._event, facts)


def _plain(value: Any) -> Any:
    """Values as JSON can hold them: no NaN, and no half of a surrogate pair, which many readers refuse."""
    if isinstance(value, str):
        return _SURROGATES.sub(lambda found: ascii(found[0])[1:-1], value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else _plain(str(value))
