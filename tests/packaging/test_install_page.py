"""The commands of docs/install.md for a checkout, in a fresh shell, from a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/mergeometry/mergeometry"


@pytest.mark.slow
def test_a_checkout_is_installed_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/install.md").read_text("utf-8")
    (block,) = re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert ADDRESS in block
    # No variable of this process but the path and what says where packages come from.
    kept = ["HOME", "PATH", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "SSL_CERT_FILE"]
    (tmp_path / "shell.sh").write_text(block.replace(ADDRESS, str(ROOT)), "utf-8")
    settings = [f"{name}={os.environ[name]}" for name in kept if name in os.environ]
    command = ["env", "-i", *settings, "bash", "-e", "shell.sh"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "dc_merge" in done.stdout and (tmp_path / "mergeometry/.venv/bin/mergeometry").exists()
