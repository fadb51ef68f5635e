"""What users install: the library's wheel is small and merges alone; the suite's wheel brings its experts."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]
LARGEST = 1_250_000
FOREIGN = ("transformers", "peft", "safetensors", "mergeometry_suite", "pytest")
"""Packages that a merge must do without."""


def build(project: Path, output: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(output), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = output.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and links to what it requires, and to nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in sorted(required("mergeometry")):
        for path in {Path(str(file)).parts[0] for file in distribution(name).files or ()} - {".."}:
            target = Path(str(distribution(name).locate_file(path)))
            # Torch is 700 MB: a link to an installed package is the package.
            if target.exists() and not (site / path).exists():
                (site / path).symlink_to(target)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


def required(name: str) -> set[str]:
    """Names of all distributions that one needs, itself left out."""
    found: set[str] = set()
    todo = [name]
    while todo:
        for text in distribution(todo.pop()).requires or ():
            requirement = Requirement(text)
            if (requirement.marker is None or requirement.marker.evaluate({"extra": ""})) and (
                requirement.name not in found
            ):
                found.add(requirement.name)
                todo.append(requirement.name)
    return found


def run(environment: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(environment / "bin" / "python"), *arguments]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)


def test_the_library_is_small_and_brings_no_suite(wheel: Path) -> None:
    assert wheel.stat().st_size <= LARGEST
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"mergeometry"}
    assert not [name for name in names if name.endswith(".safetensors") or "tests" in name.split("/")]
    for name in ("py.typed", "sink/card.md.jinja", "report/comparison.html.jinja", "methods/__init__.pyi"):
        assert f"mergeometry/{name}" in names, name


def test_the_source_distribution_is_small_and_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    # Without --wheel, the wheel is built from the source distribution.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (source,), (again,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    assert source.stat().st_size <= LARGEST
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


def test_it_merges_without_the_suite_and_without_transformers(environment: Path, tmp_path: Path) -> None:
    base = {"layer.weight": torch.randn(8, 6), "layer.bias": torch.randn(8)}
    tuned = [{name: value + torch.randn_like(value) for name, value in base.items()} for _ in range(2)]
    for name, tensors in (("base", base), ("first", tuned[0]), ("second", tuned[1])):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    for module in FOREIGN:
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is not None)"
        assert run(environment, "-c", code, folder=tmp_path).returncode == 0, module

    done = run(
        environment, "-m", "mergeometry", "merge", "--base", "base", "--model", "first", "--model", "second",
        "--method", "average", "--output", "merged", folder=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    for name in base:
        torch.testing.assert_close(merged[name], (tuned[0][name] + tuned[1][name]) / 2)


@pytest.mark.parametrize("command", [("demo",), ("demo", "--help"), ("suite", "list"), ("suite", "train", "--full")])
def test_commands_of_the_suite_say_what_to_install(environment: Path, command: tuple[str, ...], tmp_path: Path) -> None:
    done = run(environment, "-m", "mergeometry", *command, folder=tmp_path)
    assert done.returncode == 1
    assert "pip install mergeometry-suite" in done.stderr
    assert command[0] in run(environment, "-m", "mergeometry", "--help", folder=tmp_path).stdout


def test_the_suite_brings_its_experts_and_its_commands(tmp_path: Path) -> None:
    contents = zipfile.ZipFile(build(ROOT / "suite", tmp_path))
    names = contents.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"mergeometry_suite"}
    experts = [name for name in names if name.endswith("adapter_model.safetensors")]
    shipped = list((ROOT / "suite" / "mergeometry_suite").rglob("adapter_model.safetensors"))
    assert len(experts) == len(shipped) > 20
    (entries,) = [name for name in names if name.endswith("entry_points.txt")]
    text = contents.read(entries).decode()
    assert "[mergeometry.commands]" in text and "demo = " in text and "suite = " in text
