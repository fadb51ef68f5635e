"""The executor `ray` on this machine alone, as somebody tries it first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mergeometry as mg
from tests.helpers import models


@pytest.mark.suite
def test_a_ray_of_our_own(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    recipe = {**models.write_family(tmp_path, 2), "method": "dc_merge", "scale": {"rule": "projection", "per": "model"}}
    mg.merge(recipe, tmp_path / "one", workers=1)
    mg.merge(recipe, tmp_path / "two", workers=2)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "mergeometry", "merge", str(tmp_path / "recipe.json"), "--output"]
    done = subprocess.run(
        [*command, str(tmp_path / "ray"), "--executor", "ray", "--address", "local", "--quiet"],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": "/tmp"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hashes = [models.weight_hashes(tmp_path / name) for name in ("one", "two", "ray")]
    assert hashes[0] == hashes[1] == hashes[2]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
