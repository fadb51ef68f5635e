"""How many workers a merge gets: as many as the cores and the memory allow; one that fits neither way is refused."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from mergeometry.byte_counts import bytes_in
from mergeometry.errors import RecipeError
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.memory_cures import cure_for
from mergeometry.plan import machine
from mergeometry.plan.plan import Plan
from mergeometry.sink.failures import readable_bytes
from mergeometry.words import counted

_WORTH_WORKERS = 2.0
"""Seconds of work below which starting processes takes longer than it saves."""

MemoryLimit: TypeAlias = int | str | None
"""The bytes of memory that all processes may take together, such as ``"8GB"``; None for all that there is."""


def limit_in_bytes(limit: MemoryLimit) -> int | None:
    """The number of bytes that a user has written as a limit.

    Raises:
        RecipeError: it is no number of bytes, or none at all.
    """
    if limit is None:
        return None
    number = bytes_in(limit) if isinstance(limit, str) else limit
    if number is None or number < 1:
        raise RecipeError(f"a memory limit is a number of bytes, got {limit!r}", hint="--memory-limit 8GB")
    return number


def worker_count(asked: int | None, seconds: float = math.inf) -> int:
    """The number of workers asked for; by default one per core if the work takes long on one core, else one.

    Raises:
        RecipeError: fewer than one is asked for.
    """
    if asked is None:
        return machine.cores() if seconds > _WORTH_WORKERS else 1
    if asked < 1:
        raise RecipeError(f"workers must be at least 1, got {asked}")
    return asked


def likely_workers(asked: int | None, folders: Iterable[str | Path]) -> int:
    """The workers that a merge of these models will probably get, from nothing but the sizes of their files."""
    if asked is not None:
        return asked
    nbytes = 0
    for folder in folders:
        with suppress(OSError):  # on the hub, or a mistake that reading it will tell
            nbytes += sum(one.stat().st_size for one in os.scandir(folder) if one.name.endswith(".safetensors"))
    return worker_count(None, nbytes / machine.BYTES_PER_SECOND)


def workers_for(plan: Plan, asked: int | None, memory_limit: MemoryLimit = None, executor: Executor = LOCAL) -> int:
    """The number of workers asked for, or else as many as cores and memory allow.

    Raises:
        RecipeError: fewer than one is asked for, or the merge needs more memory than there is; the hint says what fits.
    """
    return workers_within(
        asked, plan.seconds(1), plan.peak_memory, lambda limit: cure_for(plan, limit), memory_limit=memory_limit,
        executor=executor,
    )  # fmt: skip


def workers_within(
    asked: int | None,
    seconds: float,
    peak: Callable[[int], int],
    cure: Callable[[int], str] | None = None,
    *,
    memory_limit: MemoryLimit = None,
    executor: Executor = LOCAL,
) -> int:
    """The same for work whose ``peak`` memory is known for each number of workers; ``cure`` makes one worker fit."""
    count, limit = executor.workers(asked, peak(1)), limit_in_bytes(memory_limit)
    if count is None:
        count, limit = worker_count(asked, seconds), machine.available_memory(limit)
    if not limit or peak(count) <= limit:
        return count
    fitting = next((fewer for fewer in range(count - 1, 0, -1) if peak(fewer) <= limit), 0)
    if fitting and asked is None:
        return fitting
    needed, there = readable_bytes(peak(count)), readable_bytes(limit)
    hints = [f"--workers {fitting} fits"] if fitting else [cure(limit) if cure else "", _more(limit, peak(1))]
    raise RecipeError(
        f"this may take {needed} of memory with {counted(count, 'worker')}, and there are {there}",
        hint="; or ".join(filter(None, hints)),
    )


def _more(limit: int, needed: int) -> str:
    """What gives one worker the memory that it needs."""
    there = machine.available_memory()
    if limit < there and needed <= there:
        return f"allow it more: --memory-limit {_rounded_up(needed)} --workers 1"
    return f"use a machine with {readable_bytes(needed)}"


def _rounded_up(count: int) -> str:
    """A number of bytes as the option takes it, never less."""
    return f"{math.ceil(count / 1e8) / 10:g}GB"
