"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import ROOT

_SHOW_KERNELS = """
import scipy.linalg, threadpoolctl
found = threadpoolctl.threadpool_info()
print(next((one["architecture"] for one in found if "scipy.libs" in one["filepath"]), "none"))
"""

PACKAGES = ("mergeometry", "torch", "numpy", "scipy", "safetensors")


def circumstances() -> dict[str, Any]:
    """Machine, versions and time of a measurement."""
    return {
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": f"{platform.system()} {platform.machine()}",
            "load_before": round(os.getloadavg()[0], 2),
            "kernels": _kernels(),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    found = dict(
        (part.strip() for part in line.split(":", 1)) for line in lines if ":" in line and line.strip()[-1] != ":"
    )
    numbers = f"family {found.get('cpu family', '?')}, model {found.get('model', '?')}"
    return f"{found.get('model name', 'unknown')} ({numbers})"


def _kernels() -> str:
    """The processor for which OpenBLAS, as SciPy brings it, takes its routines; "none" where SciPy brings none."""
    done = subprocess.run([sys.executable, "-c", _SHOW_KERNELS], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
