"""Ray clusters on this machine, for tests: several nodes, each with a process tree of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 300.0
"""Seconds after which a test gives up: starting Ray takes long where others use the cores."""

NODE = {"num_cpus": 1, "memory": 2_000_000_000, "object_store_memory": 100_000_000, "include_dashboard": False}


@contextmanager
def cluster(nodes: int, monkeypatch: Any) -> Iterator[Any]:
    """A cluster whose head runs no jobs, with so many nodes of one CPU; this process is not connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's workers yield to everything else by default, and then starve where others use the cores.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    made = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        made.workers = [made.add_node(**NODE) for _ in range(nodes)]
        made.wait_for_nodes(timeout=PATIENCE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def workers_running() -> list[int]:
    """The processes of this machine that run a job of ours on Ray; Ray names its workers by what they run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::carry_out"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)


def wait_until(true: Callable[[], Any]) -> Any:
    """What the condition gives, once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return found
