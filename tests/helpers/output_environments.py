"""The environments of the libraries that outputs are loaded with: one for each, and torch once for all.

They lie in ``environments`` of the cache folder and are named after a digest of what they hold, so that a change of
either makes a new one; one left unfinished is made again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mergeometry.cache import cache_folder

TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Environment:
    """Packages with their dependencies, on top of the one that holds torch."""

    name: str
    packages: tuple[str, ...]

    def python(self) -> Path:
        """Its interpreter; makes the environment first where it is missing."""
        below = [] if self is BASE else [BASE.python().parents[1]]
        versions = f"{sys.version_info.major}.{sys.version_info.minor}"
        digest = hashlib.sha256(repr((versions, TORCH, self.packages)).encode()).hexdigest()[:8]
        folder = cache_folder() / "environments" / f"{self.name}-{digest}"
        if not (folder / "finished").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)])
            packages = folder / "lib" / f"python{versions}" / "site-packages"
            for other in below:
                # pip sees what stands there too, so torch is installed once.
                (packages / "torch.pth").write_text(f"{other / packages.relative_to(folder)}\n")
            constraints = folder / "constraints.txt"
            constraints.write_text(f"{TORCH}\n")
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--no-cache-dir", "--constraint", str(constraints), *self.packages])
            (folder / "finished").touch()
        return folder / "bin" / "python"


BASE = Environment("torch", (TORCH, "numpy", "safetensors"))
SENTENCE_TRANSFORMERS = Environment("sentence-transformers", ("sentence-transformers",))
VISION = Environment("vision", ("timm", "open_clip_torch"))
OLD_TRANSFORMERS = Environment("transformers-4.48", ("transformers==4.48.0",))
"""The oldest version that the project's extra allows."""


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "PIP_NO_CACHE_DIR": "1"}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-2000:]}")
