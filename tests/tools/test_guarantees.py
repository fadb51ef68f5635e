"""The page of guarantees, its table, the tests' names and the committed figures hold together."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.helpers.fuzz_targets import SEEDS
from tools import fuzzing, guarantees_page
from tools.figures import figures_of
from tools.promises import PROMISES
from tools.surface import ROOT

REPORT = """<testsuites><testsuite name="pytest" tests="2">
<testcase classname="tests.crash.test_kill_loop" name="test_two_hundred_kills[1-200]" time="1">
<properties><property name="kills" value="200"/></properties></testcase>
<testcase classname="tests.crash.test_kill_loop" name="test_other" time="1">{}</testcase></testsuite></testsuites>"""


def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_page_is_current() -> None:
    for path, text in guarantees_page.files().items():
        assert path.read_text("utf-8") == text, "run `make stubs`"
    assert len(PROMISES) == 22


def test_every_promise_names_tests_that_exist() -> None:
    missing = [test for test in guarantees_page.named() if test.split("::")[1] not in functions(test.split("::")[0])]
    assert not missing and all(row.tests for row in PROMISES)


def test_every_long_test_stands_behind_a_promise() -> None:
    long = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        for name, function in functions(file).items():
            if any("torture" in ast.unparse(decorator) for decorator in function.decorator_list):
                long.add(f"{file}::{name}")
    figures = json.loads(guarantees_page.FIGURES.read_text("utf-8"))["figures"]
    assert long and long <= guarantees_page.named()
    assert {name.partition("[")[0] for name in figures} <= long


def test_figures_are_read_from_a_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(""))
    assert list(figures_of(report)) == [
        ("tests/crash/test_kill_loop.py::test_two_hundred_kills[1-200]", {"kills": 200})
    ]
    report.write_text(REPORT.format('<failure message="no"/>'))
    with pytest.raises(SystemExit, match="test_other failed"):
        list(figures_of(report))


def test_figures_of_the_fuzzer_are_read_from_what_it_prints() -> None:
    lines = [f"{name}: 1,0{number}0 inputs, none uncaught" for number, name in enumerate(SEEDS)]
    text = "\n".join(["commit abc1234, 1800 seconds", "INFO: Instrumenting mergeometry", *lines])
    assert fuzzing.figures_of(text) == {
        "commit": "abc1234",
        "seconds": 1800,
        "inputs": {name: 1000 + 10 * number for number, name in enumerate(SEEDS)},
    }
    with pytest.raises(SystemExit, match="did not end well"):
        fuzzing.figures_of(text.replace(lines[-1], f"{list(SEEDS)[-1]}: a parser fell over"))
