"""What every estimate assumes of the machine: the memory of a process, and the rates of one core of a common server.

Bytes are upper bounds, which tests check the engine against. Rates are rough: they tell minutes from hours.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROCESS_BYTES = 275_000_000
"""Resident size of one idle process that has loaded torch, SciPy and this library."""

COMMAND_BYTES = 150_000_000
"""Resident size of a command that leaves the work to workers and has not loaded torch: 50 MB and its plan."""

ADDRESS_BYTES = 800_000_000
"""Addresses that such a process takes without memory behind them, which `ulimit -v` counts."""

THREAD_ADDRESS_BYTES = 85_000_000
"""Addresses that the BLAS libraries take for each core, without memory behind them."""

TRANSFORMERS_BYTES = 350_000_000
"""What importing transformers adds to a process."""

FLOAT32_FLOPS_PER_SECOND = 60e9
"""Of one core that runs an encoder: 58e9 to 69e9 on an AMD EPYC of 2024, with AVX-512."""

BFLOAT16_SPEEDUP = 3.0
"""How many times as fast bfloat16 is where the processor has it."""

FLOAT64_FLOPS_PER_SECOND = 30e9
"""Of one core in decompositions and in float64: 15e9 on an AMD EPYC of 2021, 27e9 to 42e9 on one of 2024."""

BYTES_PER_SECOND = 1.5e9
"""Read or written, with every value checked and every byte hashed."""

BUS_BYTES_PER_SECOND = 12e9
"""From main memory to a GPU and back: half of what PCI Express 4 promises."""

ELEMENTS_PER_SECOND = 1.5e9
"""Of one core that computes a task vector and adds it to a sum."""

FORMED_PER_SECOND = 2e8
"""Entries of a matrix that one core multiplies out from thin factors: most of it is memory that is used first."""


def cores() -> int:
    """Cores that this process may use: a scheduler or a container can allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of the machine's processor."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return name


def available_memory(limit: int | None = None, root: Path = Path("/")) -> int:
    """Bytes of memory that all processes of a merge may use together; 0 if unknown.

    The least of the machine's memory, the limits of a container, those of a process (`ulimit -v`, `ulimit -d`), and
    the ``limit`` that the user sets. ``root`` is the folder that holds ``proc`` and ``sys``.
    """
    limits = [] if limit is None else [limit]
    with suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min([*limits, *_container_limits(root), *_process_limits()], default=0)


def _process_limits() -> Iterator[int]:
    """What the limits of each process leave; every worker has them, but they are taken for those of all together."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield max(1, soft - ADDRESS_BYTES - THREAD_ADDRESS_BYTES * cores())


def _container_limits(root: Path) -> Iterator[int]:
    """The limits of the control groups that this process is in, of both versions, from the innermost outwards."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            place, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            place, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # A container may see its own group as the root of the tree, whatever its path is called outside.
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            try:
                yield int(place.joinpath(*parts[:depth], name).read_text("utf-8"))
            except (OSError, ValueError):  # no such group here, or no limit ("max")
                continue
