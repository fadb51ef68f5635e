"""What `import mergeometry` gives: all of it is there, and nothing is loaded before it is used."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module

import pytest

import mergeometry as mg
from mergeometry.methods import registry as methods
from mergeometry.refinements import registry as refinements

STEPS = """
import json, sys
import mergeometry as mg
found = {"names": [dir(mg), dir(mg.methods), dir(mg.refinements)], "torch": "torch" in sys.modules}
mg.methods.TaskArithmetic
mg.refinements.Norm
files = [name for name in sys.modules if name.startswith(("mergeometry.methods.", "mergeometry.refinements."))]
print(json.dumps({**found, "files": files}))
"""


def test_names_are_listed_without_torch_and_a_class_without_the_others() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert not found["torch"]
    surface, some_methods, some_refinements = found["names"]
    assert set(surface) == set(mg.__all__)
    assert {"DCMerge", "Ties", "TSVM"} <= set(some_methods)
    assert {"Norm", "SVC"} <= set(some_refinements)
    files = {name.removeprefix("mergeometry.") for name in found["files"]}
    assert files & {f"methods.{name}" for name in methods.own()} == {"methods.task_arithmetic"}
    assert files & {f"refinements.{name}" for name in refinements.own()} == {"refinements.norm"}


@pytest.mark.parametrize(
    ("package", "registry"), [(mg.methods, methods), (mg.refinements, refinements)], ids=["methods", "refinements"]
)
def test_each_file_defines_the_class_of_its_name(package: object, registry: object) -> None:
    kinds = {name: registry.find(name) for name in registry.own()}  # type: ignore[attr-defined]
    for name, kind in kinds.items():
        assert kind.__name__.lower() == name.replace("_", ""), f"{name}.py defines {kind.__name__}"
        assert getattr(package, kind.__name__) is kind
    assert dir(package) == sorted(kind.__name__ for kind in kinds.values())


def test_a_misspelt_class_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = mg.methods.DCMrge
    assert (caught.value.name, caught.value.obj) == ("DCMrge", mg.methods), "what Python looks for the nearest with"
    with pytest.raises(AttributeError):
        _ = mg.methods.dcmerge
    with pytest.raises(AttributeError):
        _ = mg.DCMerge  # type: ignore[attr-defined]


def test_every_public_name_is_what_a_type_checker_takes_it_for() -> None:
    tree = ast.parse(inspect.getsource(mg))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(imported) == sorted(mg.__all__)
    for name, module in imported.items():
        if name in {"methods", "refinements"}:
            assert getattr(mg, name) is import_module(f"mergeometry.{name}")
        else:
            assert getattr(mg, name) is getattr(import_module(str(module)), name)
