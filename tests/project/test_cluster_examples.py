"""The examples for clusters are what their schedulers can read, and run commands that there are."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import Any

import pytest
from ruamel.yaml import YAML

import mergeometry as mg
from mergeometry.cli.executor import ExecutorOptions
from tests.helpers.repository import ROOT, settings

FOLDER = ROOT / "examples" / "cluster"


def test_the_job_of_kuberay() -> None:
    job: Any = YAML(typ="safe").load(FOLDER / "rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0" and workers["replicas"] == workers["minReplicas"]
    mounts = []
    for group in (head, workers):
        (container,) = group["template"]["spec"]["containers"]
        mounts.append((container["image"], container["volumeMounts"], group["template"]["spec"]["volumes"]))
        assert container["resources"]["requests"] == container["resources"]["limits"], "or Ray offers what it has not"
    assert mounts[0] == mounts[1], "every node sees the same storage and software"
    shell, flag, line = shlex.split(job["spec"]["entrypoint"])
    assert (shell, flag) == ("sh", "-c") and line.startswith("test -e /shared/merged/mergeometry.json || exec ")
    words = line.partition("exec ")[2].split()
    assert words[:2] == ["mergeometry", "merge"] and "--resume" in words
    name, address = (words[words.index(option) + 1] for option in ("--executor", "--address"))
    assert ExecutorOptions(name, address).chosen_executor == mg.Ray("auto")
    pinned = (ROOT / "constraints.txt").read_text().split()
    assert f"ray=={cluster['rayVersion']}" in pinned
    assert any(
        entry.startswith("ray[client]>=")
        for entry in settings("pyproject.toml")["project"]["optional-dependencies"]["ray"]
    )


def test_the_script_for_slurm() -> None:
    script = FOLDER / "ray.sbatch"
    if (shell := shutil.which("bash")) is None:
        pytest.skip("no bash here")
    assert subprocess.run([shell, "-n", script], capture_output=True, check=False).returncode == 0
    text = script.read_text("utf-8")
    assert "RAY_AUTH_MODE=token" in text and "--include-dashboard=false" in text and "--resume" in text
    compile(text.partition("<<'PYTHON'\n")[2].partition("\nPYTHON\n")[0], "ray.sbatch", "exec")
