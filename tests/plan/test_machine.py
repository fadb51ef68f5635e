"""What is assumed of the machine is written once."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import mergeometry as mg
from mergeometry.plan import machine

SOURCE = Path(inspect.getsourcefile(mg) or "").parent


def assigned(file: Path) -> Iterator[str]:
    for node in ast.parse(file.read_text("utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_no_other_module_has_rates_or_sizes_of_processes_of_its_own() -> None:
    constants = set(assigned(Path(machine.__file__)))
    assert "FLOAT32_FLOPS_PER_SECOND" in constants
    others = [file for file in SOURCE.rglob("*.py") if file != Path(machine.__file__)]
    again = {
        (file.name, name)
        for file in others
        for name in assigned(file)
        if name.endswith("_PER_SECOND") or name.lstrip("_") in constants
    }
    assert not again
    assert not [file.name for file in others if "cpu_count" in file.read_text("utf-8")]


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    assert machine.available_memory() > 2**28
