"""The one thread policy, where a library is loaded only in the middle of a merge."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

STEPS = """
import json
from threadpoolctl import threadpool_info
from mergeometry.deferred import scipy, torch
from mergeometry.execution.threads import one_thread

def counts():
    return sorted(pool["num_threads"] for pool in threadpool_info())

torch.empty(0)
before = counts()
with one_thread():
    scipy.linalg
    within = counts()
print(json.dumps([before, within, counts()]))
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core starts one thread anyway")
def test_a_library_that_is_loaded_meanwhile_is_set_to_one_thread_and_set_back() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True)
    before, within, after = json.loads(done.stdout)
    assert len(within) > len(before), "SciPy brings a BLAS of its own"
    assert set(within) == {1}
    assert len(after) == len(within)
    assert set(after) == set(before), "each has as many threads as if it had been loaded without the merge"
