"""The job files are valid where they are meant to run, start again safely, and give the command options that exist."""

from __future__ import annotations

import configparser
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from mergeometry.cli.merge import merge

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "examples" / "jobs"
UNIT, BATCH, KUBERNETES = (JOBS / name for name in ("mergeometry-merge.service", "merge.sbatch", "merge-job.yaml"))


class Unit(configparser.ConfigParser):
    """A unit file, whose keys keep their letters."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit() -> Unit:
    parser = Unit(interpolation=None, comment_prefixes=("#",), inline_comment_prefixes=None)
    parser.read_string(UNIT.read_text())
    return parser


def manifest() -> Any:
    return YAML(typ="safe").load(KUBERNETES.read_text())


def commands() -> dict[str, list[str]]:
    """The command of each job."""
    (batch,) = re.findall(r"^(mergeometry merge .*?) &$", BATCH.read_text(), re.DOTALL | re.MULTILINE)
    (container,) = manifest()["spec"]["template"]["spec"]["containers"]
    return {
        "systemd": shlex.split(unit()["Service"]["ExecStart"])[1:],
        "SLURM": shlex.split(batch.replace("\\\n", " "))[1:],
        "Kubernetes": shlex.split(container["command"][2].partition("exec ")[2])[1:],
    }


def test_every_job_is_in_the_page() -> None:
    page = (ROOT / "docs" / "unattended.md").read_text()
    for path in JOBS.iterdir():
        assert f"examples/jobs/{path.name})" in page


@pytest.mark.parametrize("where", ["systemd", "SLURM", "Kubernetes"])
def test_a_job_continues_and_logs_events(where: str) -> None:
    name, recipe, *rest = commands()[where]
    assert (name, recipe) == ("merge", "recipe.yaml") and "--resume" in rest and "--overwrite" not in rest
    assert rest[rest.index("--log") + 1] == "json" and "--output" in rest
    known = set(inspect.signature(merge).parameters)
    assert {word.removeprefix("--").replace("-", "_") for word in rest if word.startswith("--")} <= known


def test_the_unit_restarts_after_a_crash_and_not_after_a_refusal(tmp_path: Path) -> None:
    service = unit()["Service"]
    assert service["Restart"] == "on-abnormal" and int(service["TimeoutStopSec"]) >= 60
    # A user made for each start would own neither the folder nor what an earlier start staged there.
    assert service["User"] and "DynamicUser" not in service and service["SuccessExitStatus"] == "143"
    output = unit()["Unit"]["ConditionPathExists"].removeprefix("!")
    assert (
        output == f"{service['WorkingDirectory']}/merged" and service["ReadWritePaths"] == service["WorkingDirectory"]
    )
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/mergeometry/bin/mergeometry", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr


def test_shellcheck_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([linter, "--enable=all", "--exclude=SC2250,SC2292", BATCH], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout


STANDIN = """#!/bin/bash
echo "$0 $*" >> log
case "$(basename "$0") $1" in
    "mergeometry merge") echo '{"event": "published"}' >&2; if [ -e hang ]; then exec sleep 60; fi ;;
    "mergeometry verify") printf '{\n "ok": true\n}\n' ;;
esac
"""


@pytest.mark.parametrize("hangs", [True, False])
def test_the_batch_job_queues_itself_again_and_verifies_at_the_end(tmp_path: Path, hangs: bool) -> None:
    for name in ("mergeometry", "scontrol"):
        (tmp_path / name).write_text(STANDIN)
        (tmp_path / name).chmod(0o755)
    if hangs:
        (tmp_path / "hang").touch()
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7"}
    with (tmp_path / "merge-7.jsonl").open("w") as written:
        job = subprocess.Popen(["bash", BATCH], env=environment, stdout=written, stderr=written)
    log = tmp_path / "log"
    while hangs and not (log.exists() and "merge" in log.read_text()):
        assert job.poll() is None
    if hangs:
        job.terminate()
    assert job.wait(timeout=60) == 0
    for line in (tmp_path / "merge-7.jsonl").read_text().splitlines():
        assert json.loads(line)["event"]
    last = log.read_text().splitlines()[-1]
    assert last.endswith("scontrol requeue 7" if hangs else "mergeometry verify merged --json")


@pytest.mark.parametrize("where", ["SLURM", "Kubernetes"])
def test_a_job_that_starts_again_after_the_output_is_there_merges_nothing(where: str, tmp_path: Path) -> None:
    (tmp_path / "mergeometry").write_text(STANDIN)
    (tmp_path / "mergeometry").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7"}
    (container,) = manifest()["spec"]["template"]["spec"]["containers"]
    command = ["bash", str(BATCH)] if where == "SLURM" else container["command"]
    for there in (False, True):
        if there:
            (tmp_path / "log").unlink()
            (tmp_path / "merged").mkdir()
            (tmp_path / "merged" / "mergeometry.json").touch()
        done = subprocess.run(command, env=environment, cwd=tmp_path, check=False)
        assert done.returncode == 0
        log = tmp_path / "log"
        assert ("mergeometry merge" in log.read_text() if log.exists() else False) is not there


def test_the_job_fits_the_schema_of_the_api() -> None:
    job = manifest()
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    spec = job["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Never", "podFailurePolicy needs it"
    mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}
    (rule,) = [rule for rule in job["spec"]["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert rule["onExitCodes"]["values"] == [1, 2]
    assert rule["onExitCodes"]["containerName"] in {container["name"] for container in spec["containers"]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**job, "spec": {**job["spec"], "backofLimit": 1}}, strict=True,
                                     desired_version=kubernetes_validate.latest_version())  # fmt: skip
