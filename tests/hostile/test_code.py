"""No code of a model is run: nothing unpickles, nothing evaluates, and transformers is not imported while merging."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mergeometry as mg
from tests.helpers.forked import finished
from tests.helpers.whole_merges import note, noted, write_inputs

SOURCE = Path(mg.__file__).parent
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "_pickle"}
RUNNERS = {"eval", "exec", "compile", "__import__"}
ALLOWED = {
    # The one place that reads pickled files: a process that can do little else, for --allow-pickle.
    "sources/pickles/child.py": {"torch.load", "pickle"},
    # Jobs and results between a command and the workers that it started, over a connection that nobody else holds.
    "execution/local_jobs.py": {"cloudpickle"},
    "execution/worker_process.py": {"cloudpickle"},
    # Tensors and numbers that the processes of one launch send each other.
    "learning/store_exchange.py": {"torch.load"},
    # The safe loader of ruamel.yaml, which refuses tags.
    "recipe/yaml.py": {"yaml.load"},
}


def suspects(tree: ast.AST) -> Iterator[str]:
    """What a file imports or calls that could run code from data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in UNPICKLERS:
            yield node.module
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in RUNNERS or name.endswith(("torch.load", "numpy.load", "np.load", "yaml.load", "unsafe_load")):
                yield name
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if given.get("trust_remote_code", "False") != "False":
                yield f"{name}(trust_remote_code=...)"
            if name == "torch.load" and given.get("weights_only") != "True":
                yield "torch.load of anything"


def test_nothing_unpickles_or_evaluates_data() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    found = {path.relative_to(SOURCE).as_posix(): set(suspects(ast.parse(path.read_text("utf-8")))) for path in files}
    assert len(found) > 200
    left = {name: kinds - ALLOWED.get(name, set()) for name, kinds in found.items()}
    assert {name: kinds for name, kinds in left.items() if kinds} == {}


@pytest.mark.parametrize(
    "source", ["import pickle", "from dill import loads", "torch.load(x)", "eval(x)", "f(trust_remote_code=True)"]
)
def test_what_would_be_found(source: str) -> None:
    assert list(suspects(ast.parse(source)))


def merge_and_tell(recipe: dict[str, object], output: Path, log: Path) -> None:
    mg.merge(recipe, output, workers=1)
    note(log, f"transformers {'transformers' in sys.modules}")
    note(log, f"code {'modeling_evil' in sys.modules}")


def test_a_merge_runs_no_code_of_a_model_and_imports_no_transformers(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    canary = tmp_path / "canary"
    for place in (inputs["base"], *inputs["models"]):
        folder = Path(place)
        (folder / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
        config = {"model_type": "bert", "auto_map": {"AutoModel": "modeling_evil.Model"}}
        (folder / "config.json").write_text(json.dumps(config))
    log = tmp_path / "log"
    assert finished(merge_and_tell, {**inputs, "method": "average"}, tmp_path / "out", log) == 0
    assert noted(log, "transformers") == ["False"] and noted(log, "code") == ["False"]
    assert not canary.exists() and not list((tmp_path / "out").glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "out" / "config.json").read_text())
