"""One version everywhere, and one exact set of dependencies that meets what the packages ask for."""

from __future__ import annotations

import os
import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from tests.helpers.repository import ROOT, settings

LIBRARY = settings("pyproject.toml")["project"]
SUITE = settings("suite/pyproject.toml")["project"]
REQUIREMENTS = [
    Requirement(text)
    for text in [
        *LIBRARY["dependencies"],
        *SUITE["dependencies"],
        *(text for extra in LIBRARY["optional-dependencies"].values() for text in extra),
    ]
]
OWN = {"mergeometry", "mergeometry-suite"}


def test_one_version_everywhere() -> None:
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    (newest,) = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[:1]
    assert {LIBRARY["version"], SUITE["version"], str(citation["version"]), newest} == {LIBRARY["version"]}


def test_each_distribution_accepts_the_other() -> None:
    between = {requirement.name: requirement for requirement in REQUIREMENTS if requirement.name in OWN}
    for name, version in (("mergeometry", LIBRARY["version"]), ("mergeometry-suite", SUITE["version"])):
        assert between[name].specifier.contains(version), name


@pytest.mark.parametrize("requirement", [r for r in REQUIREMENTS if r.name not in OWN], ids=lambda r: r.name)
def test_a_requirement_has_a_lower_bound_and_an_exact_version_that_meets_it(requirement: Requirement) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    exact = [line.split("==") for line in lines if not line.startswith("#")]
    versions = {canonicalize_name(name): version for name, version in exact}
    assert [specifier.operator for specifier in requirement.specifier] == [">="]
    assert requirement.specifier.contains(Version(versions[canonicalize_name(requirement.name)]))


def test_every_dependency_says_why_it_is_there() -> None:
    for file in ("pyproject.toml", "suite/pyproject.toml"):
        lines = [line for line in (ROOT / file).read_text("utf-8").splitlines() if re.match(r'\s+"[\w\[\],-]+>=', line)]
        assert lines
        unexplained = [line.strip() for line in lines if "#" not in line]
        assert unexplained == [], file


def test_the_container_copies_what_is_there_and_what_is_sent() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = [name for line in lines if re.match(r"COPY (?!--from)", line) for name in line.split()[1:-1]]
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert sorted(copied) == sorted(sent)
    for name in copied:
        assert (ROOT / name).exists(), name
    assert "USER 65534:65534" in lines and 'ENTRYPOINT ["mergeometry"]' in lines


def test_the_script_of_continuous_integration_may_be_run_and_tests_last() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text("utf-8").splitlines()[-1] == "make test"
