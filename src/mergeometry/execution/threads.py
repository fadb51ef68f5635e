"""The one thread policy: linear algebra on one BLAS thread, parallel across tensors.

Two BLAS threads in contention were measured 4 to 10 times slower than one, and the number of
threads changes the last bits of decompositions; pinned, any number of workers gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from threadpoolctl import threadpool_limits

from mergeometry.deferred import after_loading, torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Set torch and every BLAS to one thread, one that is loaded meanwhile too; restore the counts afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ExitStack() as limits, after_loading(lambda: limits.enter_context(threadpool_limits(limits=1))):
            limits.enter_context(threadpool_limits(limits=1))
            yield
    finally:
        torch.set_num_threads(before)
