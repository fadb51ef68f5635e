"""Workflows are YAML that GitHub can read; they run pinned code, with no right that their job does not need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from tests.helpers.repository import ROOT, settings

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
MAY_WRITE = {
    "release.yml": {
        "publish-library": {"id-token"},
        "publish-suite": {"id-token"},
        "publish-site": {"id-token", "pages"},
    }
}


def read(path: Path) -> Any:
    """The file in YAML 1.2, where ``on`` is text, and a key that stands twice is an error."""
    return YAML(typ="safe").load(path)


def steps(workflow: Any) -> list[Any]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_all_settings_of_github_are_yaml() -> None:
    found = sorted(FOLDER.rglob("*.yml"))
    assert {path.name for path in found} >= {"ci.yml", "release.yml", "dependabot.yml", "bug.yml", "config.yml"}
    for path in found:
        assert isinstance(read(path), dict), path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_has_a_limit_and_steps_that_run_something(path: Path) -> None:
    workflow = read(path)
    assert workflow["on"] and workflow["jobs"]
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] == "ubuntu-24.04" and job["timeout-minutes"] <= 90, name
        needs = job.get("needs", [])
        assert {needs} if isinstance(needs, str) else set(needs) <= set(workflow["jobs"]), name
        assert all(("uses" in step) != ("run" in step) for step in job["steps"]), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_a_commit_and_say_which_version_it_is(path: Path) -> None:
    used = [step["uses"] for step in steps(read(path)) if "uses" in step]
    assert used and [use for use in used if not PINNED.fullmatch(use)] == []
    lines = [line for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert [line for line in lines if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_may_read_the_repository_and_only_those_that_publish_may_write(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        granted = job.get("permissions", workflow["permissions"])
        writes = {right for right, level in granted.items() if level != "read"}
        assert writes == MAY_WRITE.get(path.name, {}).get(name, set()), name
        # A job that holds a right to publish runs nothing of the repository.
        assert not writes or not any("run" in step or "checkout" in step["uses"] for step in job["steps"]), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_secret_is_used_or_left_on_disk(path: Path) -> None:
    assert "secrets." not in path.read_text("utf-8")
    for step in steps(read(path)):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
        # Text of a branch or a pull request in a script is code of whoever wrote it.
        assert "${{" not in step.get("run", "")


def test_every_python_that_is_allowed_is_tested() -> None:
    tested = read(FOLDER / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert tested["python"] == ["3.11", "3.12", "3.13", "3.14"]
    oldest = [entry["python"] for entry in tested["include"] if entry["dependencies"] == "oldest"]
    assert oldest == ["3.11"]
    allowed = SpecifierSet(settings("pyproject.toml")["project"]["requires-python"])
    assert all(python in allowed for python in tested["python"]) and "3.10" not in allowed
