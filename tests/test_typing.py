"""What a type checker makes of code that uses mergeometry: mistakes are found where they are written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mergeometry

CLEAN = {
    "built": 'mg.methods.DCMerge(rank=0.5, smoothing="linear", rho=3.0, block_mask=False)',
    "defaults": "mg.methods.Ties()",
    "by_place": "mg.methods.Ties(0.1)",
    "refined": 'mg.refinements.SVC(alpha="auto")',
    "called": "mg.methods.TSVM()([mg.LowRank.zero(3, 2)], [1.0]).shape",
    "own_method": "mg.methods.DCMerge().smooth(mg.Directions(x, x, x).values, True)",
    "a_method": "mg.learn(torch.nn.Linear(1, 1), {}, {}, lambda module, batch: x, method=mg.methods.MDA())",
    "from_its_file": "Ties(density=0.1).density",
    "compared": 'mg.compare("recipe.yaml", "all", "tasks.yaml").within_noise()',
}
WRONG = {
    "parameter": ('mg.methods.DCMerge(smothing="linear")', "smothing"),
    "value": ('mg.methods.Ties(density="x")', "density"),
    "choice": ('mg.methods.MDA(simplex="corners")', "simplex"),
    "refinement": ("mg.refinements.Norm(facto=2.0)", "facto"),
    "method": ("mg.methods.DCMrge()", "DCMrge"),
    "from_its_file": ("Ties(densty=0.1)", "densty"),
    "frozen": ("mg.methods.Ties().density = 0.5", "density"),
    "call": ('mg.merge("recipe.yaml", "merged", overwite=True)', "overwite"),
    "evaluate": ('mg.evaluate("merged", "tasks.yaml", "base")', "positional"),
    "surface": ("mg.mergee", "mergee"),
}
REVEALED = {
    'mg.merge("recipe.yaml", "merged")': "Run",
    'mg.make_plan("recipe.yaml")': "Plan",
    'mg.load_recipe("recipe.yaml")': "Recipe",
    'mg.evaluate("merged", {}, base="base").mean': "float",
    'mg.compare({}, ["tsv_m"], {})': "Comparison",
    "mg.methods.DCMerge()": "DCMerge",
    "mg.methods.DCMerge().rank": "int | float | Literal['auto']",
    "mg.refinements.Norm().target": "Literal['mean', 'root_sum_square']",
}
HEAD = "import torch\nimport mergeometry as mg\nfrom mergeometry.methods.ties import Ties\nx = torch.ones(1)\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """Every snippet's messages, (severity, text) each: one file per snippet, one start of pyright for all."""
    folder = tmp_path_factory.mktemp("snippets")
    snippets = {
        **{f"clean_{name}": code for name, code in CLEAN.items()},
        **{f"wrong_{name}": code for name, (code, _) in WRONG.items()},
        **{f"revealed_{place}": f"reveal_type({code})" for place, code in enumerate(REVEALED)},
    }
    for name, code in snippets.items():
        (folder / f"{name}.py").write_text(f"{HEAD}{code}\n", "utf-8")
    source = str(Path(mergeometry.__file__).parents[1])
    settings = {"include": ["."], "extraPaths": [source], "pythonVersion": "3.11", "typeCheckingMode": "standard"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(snippets)
    messages: dict[str, list[tuple[str, str]]] = {name: [] for name in snippets}
    for each in report["generalDiagnostics"]:
        messages[Path(each["file"]).stem].append((each["severity"], each["message"]))
    return messages


@pytest.mark.parametrize("name", CLEAN)
def test_a_correct_call_is_clean(name: str, found: dict[str, list[tuple[str, str]]]) -> None:
    assert found[f"clean_{name}"] == []


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_an_error_that_names_it(name: str, found: dict[str, list[tuple[str, str]]]) -> None:
    errors = [text for severity, text in found[f"wrong_{name}"] if severity == "error"]
    assert len(errors) == 1
    assert WRONG[name][1] in errors[0]


@pytest.mark.parametrize(("place", "code"), list(enumerate(REVEALED)))
def test_the_type_of_a_result_is_known(place: int, code: str, found: dict[str, list[tuple[str, str]]]) -> None:
    assert found[f"revealed_{place}"] == [("information", f'Type of "{code}" is "{REVEALED[code]}"')]
