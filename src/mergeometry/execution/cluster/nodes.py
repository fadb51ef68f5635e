"""The nodes of a cluster: what they have, and whether they fit the driver and see the same files."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry.errors import ExecutionError, listed
from mergeometry.execution.cluster import look
from mergeometry.sink.failures import explained

if TYPE_CHECKING:
    from mergeometry.sources.tensors import FileStamp

PATIENCE = 300.0
"""Seconds that a node has for an answer: it starts a process, which imports torch from shared storage."""

_COMPARED = ("mergeometry", "torch", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster that runs jobs."""

    id: str
    name: str
    cpus: int
    memory: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What every node must have and see, so that a node that joins late can be checked too."""

    software: tuple[tuple[str, str], ...]
    token: str = ""
    """A file in the shared folder, which lists the inputs with their stamps."""
    secret: str = ""


def nodes_of(ray: Any) -> list[Node]:
    """The nodes that are alive and have CPUs for jobs."""
    return [
        Node(
            node["NodeID"],
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})",
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("memory", 0)),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ]


def checked_software(ray: Any) -> tuple[Expected, tuple[str, ...]]:
    """What this process runs, once every node runs the same; and notes on what may change the last bits of a result.

    Raises:
        ExecutionError: a node has another version of something, or does not answer.
    """
    packages = [package for package in _COMPARED if _installed(package)]
    own = look.software(packages)
    found = _asked(ray, look.software, packages)
    problems = [text for node, theirs in found if (text := _differences(node.name, own, theirs))]
    if problems:
        raise ExecutionError(
            listed("nodes run other software than this process:", problems),
            hint="use one image, or one environment on shared storage, for the driver and every node",
        )
    kinds = {own["instructions"], *(theirs["instructions"] for _, theirs in found)}
    notes = ()
    if len(kinds) > 1:
        text = f"the nodes' processors have different instructions ({', '.join(sorted(kinds))})"
        notes = (f"{text}: another run may differ in the last bits of a number",)
    return Expected(tuple(own.items())), notes


@contextmanager
def checked_storage(ray: Any, expected: Expected, token: Path, files: Mapping[Path, FileStamp]) -> Iterator[Expected]:
    """Check that every node reads the ``token``, writes next to it and finds ``files`` unchanged; it stays meanwhile.

    Raises:
        ExecutionError: a node does not; the error names node and path.
        OutputError: this process cannot write there.
    """
    folder, secret = token.parent, secrets.token_hex(16)
    content = {"secret": secret, "files": [[str(file), list(stamp)] for file, stamp in sorted(files.items())]}
    with explained("the folder that the nodes share cannot be written", folder):
        token.write_text(json.dumps(content), "utf-8")
    try:
        problems = []
        for node, answer in _asked(ray, look.storage, str(token), secret):
            problems += [f"{node.name}: {problem}" for problem in answer["problems"]]
            if answer["answer"] is not None and isinstance(look.read_late(folder / answer["answer"], secret), str):
                problems.append(f"{node.name}: what it writes does not arrive here: {folder}")
        if problems:
            raise ExecutionError(
                listed("nodes do not see the storage that they must share:", problems),
                hint="inputs and output belong on storage that every node mounts under the same path",
            )
        yield Expected(expected.software, str(token), secret)
    finally:
        with suppress(OSError):
            for left in [token, *folder.glob(f"{token.name}.*")]:
                left.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def problems_here(expected: Expected) -> tuple[str, ...]:
    """What is wrong with the node of this process, which may have joined the cluster after the others were checked."""
    wanted = dict(expected.software)
    own = look.software([package for package in _COMPARED if package in wanted])
    difference = _differences("it", wanted, own)
    if difference or not expected.token:
        return (difference,) if difference else ()
    answer = look.storage(expected.token, expected.secret)
    if answer["answer"] is not None:
        Path(expected.token).with_name(answer["answer"]).unlink(missing_ok=True)
    return tuple(answer["problems"])


def _asked(ray: Any, question: Callable[..., Any], *arguments: Any) -> list[tuple[Node, Any]]:
    """Every node's answer.

    Raises:
        ExecutionError: a node fails or does not answer in time.
    """
    from ray import cloudpickle  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    nodes = nodes_of(ray)
    # By value: the nodes need not have this package, and then say so.
    cloudpickle.register_pickle_by_value(look)
    try:
        task = ray.remote(question)
        answers = {}
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node.id, soft=False)
            # Without a CPU of its own: a node that is busy answers too.
            options = task.options(num_cpus=0, max_retries=1, scheduling_strategy=there)
            answers[options.remote(*arguments)] = node
    finally:
        cloudpickle.unregister_pickle_by_value(look)
    done, late = ray.wait(list(answers), num_returns=len(answers), timeout=PATIENCE) if answers else ([], [])
    if late:
        names = ", ".join(answers[answer].name for answer in late)
        raise ExecutionError(f"nodes did not answer within {PATIENCE:.0f} s: {names}", hint="see `ray status`")
    found: Sequence[tuple[Node, Any]] = []
    for answer in done:
        try:
            found = [*found, (answers[answer], ray.get(answer))]
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ExecutionError(f"a node cannot be asked what it has: {answers[answer].name}: {reason}") from error
    return sorted(found, key=lambda one: one[0].name)


def _differences(name: str, own: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Which versions differ, in words."""
    wrong = [
        f"{what} {theirs.get(what, 'missing')} instead of {own[what]}"
        for what in own
        if what not in ("code", "instructions") and own[what] != theirs.get(what)
    ]
    if not wrong and own["code"] != theirs.get("code"):
        wrong = [f"other code of mergeometry under the same version {own.get('mergeometry', '')}"]
    return f"{name}: {', '.join(wrong)}" if wrong else ""


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
