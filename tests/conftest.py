"""Checks the shapes in signatures while tests run, and keeps every library on one thread."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# Hundreds of tests merge by the command line, and look at anything but the page that it writes beside the output.
os.environ.setdefault("MERGEOMETRY_REPORT", "0")

import pytest  # noqa: E402
import threadpoolctl  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Plugins load NumPy before this file is read, and two BLAS threads on a busy machine are 4 to 10 times slower than one.
threadpoolctl.threadpool_limits(limits=1)

# Before anything imports them; the rest of the package handles files, where there are no shapes to check.
install_import_hook(
    [
        "mergeometry.values",
        "mergeometry.linalg",
        "mergeometry.diagnostics",
        "mergeometry.methods",
        "mergeometry.conformance",
    ],
    "beartype.beartype",
)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None]:
    """Collect the tests without looking for garbage: what is imported and collected lives as long as the session."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
