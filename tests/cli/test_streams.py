"""Commands end in plain words where their output cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import models


@pytest.mark.parametrize(("redirect", "status"), [(">&-", 0), ("> /dev/full", 1)])
def test_standard_output_that_cannot_be_written(tmp_path: Path, redirect: str, status: int) -> None:
    models.write_family(tmp_path, count=2)
    arguments = "plan --base base --model task0 --model task1 --method average"
    done = subprocess.run(
        f"{sys.executable} -m mergeometry {arguments} {redirect}",
        shell=True, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
