"""Names that rich would read as styles, emoji or links are printed as they are spelt, on every path to the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import mergeometry as mg
from mergeometry.cli import show
from mergeometry.cli.progress import progress
from mergeometry.errors import OutputError
from tests.helpers import models
from tests.helpers.commands import invoke

MODELS = (":bomb:", "[/a]")
TENSORS = {"a :bomb: [/a].weight": (6, 4), "[red]b[/red].weight": (6, 4), "[/]c.weight": (4,)}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    base = models.random_tensors(0, shapes=TENSORS)
    models.write_model(folder / "base", base)
    models.write_model(folder / "other:bomb:", {**models.tuned(base, 3), "[/a]:bomb:": base["[/]c.weight"]})
    for number in (0, 1):
        models.write_model(folder / f"task{number}", models.tuned(base, number + 1))
    entries = [{"path": f"task{number}", "name": name} for number, name in enumerate(MODELS)]
    (folder / "recipe.yaml").write_text(json.dumps({"base": "base", "models": entries, "method": "ties"}))
    return folder / "recipe.yaml"


def test_what_is_printed_is_what_is_spelt(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = invoke("plan", recipe, "--tensors")
    assert planned.exit_code == 0 and all(name in planned.stdout for name in TENSORS)
    refused = invoke(
        "plan", "--base", recipe.parent / "base", "--model", recipe.parent / "other:bomb:", "--method=ties"
    )
    assert refused.exit_code == 1 and "'[/a]:bomb:'" in refused.stderr and "other:bomb:" in refused.stderr
    for option, value in (("--method", ":bomb:[/a]"), ("--device", ":bomb:[/a]"), ("--set", ":bomb:[/a]=1")):
        wrong = invoke("merge", recipe, option, value, "--output", tmp_path / "never")
        assert wrong.exit_code in (1, 2) and ":bomb:[/a]" in wrong.stderr
    # A bar on a terminal draws them too.
    screen = io.StringIO()
    monkeypatch.setattr(show, "console", lambda **_: Console(file=screen, force_terminal=True, emoji=False, width=160))
    monkeypatch.setattr("mergeometry.cli.progress.console", show.console)
    with progress("merging [/a] :bomb:", hidden=False, timed=True) as bar:
        assert bar is not None
        bar(":bomb:", 1, 2, item="a :bomb: [/a].weight")
    assert "a :bomb: [/a].weight" in screen.getvalue()


def test_a_line_break_in_an_option_makes_no_line_of_its_own(recipe: Path, tmp_path: Path) -> None:
    value = "a\nerror: \x1b[31mall is well\u202e"
    named = ("--method", "--scale", "--other", "--device", "--executor", "--address", "--set", "--weight", "--dtype")
    for option in (*named, "--workers", "--log"):
        said = invoke("merge", recipe, option, value, "--output", tmp_path / "never")
        assert said.exit_code in (1, 2) and all(line.isprintable() for line in said.stderr.splitlines()), said.stderr
        assert sum(line.casefold().startswith("error:") for line in said.stderr.splitlines()) == 1
    for argument in (f"--{value}", value):
        said = invoke("plan", argument)
        assert said.exit_code in (1, 2) and all(line.isprintable() for line in said.stderr.splitlines()), said.stderr


def test_the_home_of_nobody_is_told(recipe: Path, tmp_path: Path) -> None:
    nobody, here = "~nobody-of-this-name/model", recipe.parent / "base"
    tasks = {"encoder": {"kind": "text"}, "tasks": [{"name": "a", "head": nobody, "test": {"path": nobody}}]}
    (tmp_path / "tasks.yaml").write_text(json.dumps(tasks))
    mixture = {"base": nobody, "layout": "mixtral", "gate": "random", "experts": [{"path": str(here)}] * 2}
    (tmp_path / "mixture.yaml").write_text(json.dumps(mixture))
    for command in (
        ("extract", "--base", nobody, "--model", here, "--rank", "1", "--dry-run"),
        ("transplant", "--model", here, "--donor", nobody, "--dry-run"), ("plan", "--base", nobody, "--model", here),
        ("evaluate", here, "--tasks", tmp_path / "tasks.yaml"), ("mixture", tmp_path / "mixture.yaml", "--dry-run"),
    ):  # fmt: skip
        told = invoke(*command)
        assert told.exit_code == 1 and nobody in told.stderr, (command, told.output, told.exception)


def test_a_path_that_no_system_takes_is_told(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="zero byte"):
        mg.merge(recipe, f"{tmp_path}/a\0b", workers=1)
    assert "File name too long" in invoke("merge", recipe, "--output", tmp_path / ("x" * 255)).stderr


@pytest.mark.suite
def test_so_does_every_command_that_names_models_or_tensors(recipe: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out:bomb:[/a]", tmp_path / "other"
    steps = [
        ("merge", recipe, "--output", out, "--workers", "1"),
        ("merge", recipe, "--output", other, "--scale", "0.5", "--workers", "1"),
        ("verify", out, "--inputs"), ("inspect", recipe, "--output", tmp_path / "seen", "--workers", "1"),
        ("report", out, "--output", tmp_path / "report", "--workers", "1"), ("diff", out, other),
        ("provenance", out), ("clean", out),
    ]  # fmt: skip
    for step in steps:
        done = invoke(*step)
        assert done.exit_code == 0, (step, done.output)
        assert "\N{BOMB}" not in done.output
    assert all(name in invoke("diff", out, other).stdout for name in TENSORS)
    (out / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    changed = invoke("verify", out)
    assert changed.exit_code == 1 and "a :bomb: [/a].weight" in changed.stdout
