"""What every estimate assumes of the machine: the memory of a process, and the rates of one core of a common server.

Bytes are upper bounds, which tests check the engine against. Rates are rough: they tell minutes from hours.
"""

from __future__ import annotations

import os

PROCESS_BYTES = 275_000_000
"""Resident size of one idle process that has loaded torch, SciPy and this library."""

TRANSFORMERS_BYTES = 350_000_000
"""What importing transformers adds to a process."""

FLOAT32_FLOPS_PER_SECOND = 60e9
"""Of one core that runs an encoder: 58e9 to 69e9 on an AMD EPYC of 2024, with AVX-512."""

BFLOAT16_SPEEDUP = 3.0
"""How many times as fast bfloat16 is where the processor has it."""

FLOAT64_FLOPS_PER_SECOND = 15e9
"""Of one core in decompositions and in float64: half of what one large product reaches."""

BYTES_PER_SECOND = 0.8e9
"""Read or written, with every value checked and every byte hashed."""

ELEMENTS_PER_SECOND = 7e8
"""Of one core that computes a task vector and adds it to a sum."""


def cores() -> int:
    """Cores that this process may use: a scheduler or a container can allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_memory() -> int:
    """Bytes of memory of this machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
