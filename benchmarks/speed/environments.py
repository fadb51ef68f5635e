"""Makes the peers' virtual environments: ``python -m benchmarks.speed.environments [NAME...]``.

One for each, since their pins are not ours. An environment that is there is left as it is; one that was left
unfinished is made again. torch goes in first, under a constraint, or an index may offer a build with gigabytes of CUDA.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.measure import ROOT, relative, say

TORCH = "torch==2.13.0"
FOLDER = ROOT / "benchmarks" / "scratch" / "environments"


class EnvironmentFailedError(RuntimeError):
    """An environment could not be created, or is missing."""


@dataclass(frozen=True)
class Environment:
    """One version of a package with its dependencies."""

    package: str
    version: str

    @property
    def folder(self) -> Path:
        """Its folder; the version is part of the name, so that every version has its own environment."""
        return FOLDER / f"{self.package}-{self.version}"

    @property
    def finished(self) -> Path:
        return self.folder / "finished"

    def program(self, name: str) -> Path:
        """A program of the environment.

        Raises:
            EnvironmentFailedError: the environment is missing.
        """
        if not self.finished.exists():
            raise EnvironmentFailedError(
                f"there is no {relative(self.folder)}: run python -m benchmarks.speed.environments"
            )
        return self.folder / "bin" / name

    def make(self) -> None:
        """Create it, unless it is there.

        Raises:
            EnvironmentFailedError: a command failed; the message has its last words.
        """
        if self.finished.exists():
            say(f"{relative(self.folder)}: is there")
            return
        if self.folder.exists():
            say(f"{relative(self.folder)}: was left unfinished and is created again")
            shutil.rmtree(self.folder)
        say(f"{relative(self.folder)}: torch, then {self.package} {self.version}; minutes")
        self._do([sys.executable, "-m", "venv", str(self.folder)])
        with tempfile.TemporaryDirectory() as scratch:
            constraints = Path(scratch) / "constraints.txt"
            constraints.write_text(f"{TORCH}\n")
            install = [str(self.folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
            install += ["--disable-pip-version-check", "--constraint", str(constraints)]
            self._do([*install, "torch"])
            self._do([*install, f"{self.package}=={self.version}"])
        self.finished.touch()

    def versions(self) -> dict[str, str]:
        """Versions of the package and of the libraries that its speed depends on."""
        code = (
            "import json, sys; from importlib.metadata import version; "
            "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
        )
        names = (self.package, "torch", "transformers", "numpy", "safetensors")
        command = [str(self.program("python")), "-c", code, *names]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def _do(self, command: list[str]) -> None:
        # No second copy of gigabytes in pip's cache, and no warnings that do not matter.
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env={**os.environ, "PIP_NO_CACHE_DIR": "1"}
        )
        if done.returncode != 0:
            words = " ".join(command[-2:])
            last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
            raise EnvironmentFailedError(f"{self.package} {self.version}: `{words}` failed:\n{last}")


MERGEKIT = Environment("mergekit", "0.1.5")
FUSION_BENCH = Environment("fusion-bench", "0.2.33")
ALL = (MERGEKIT, FUSION_BENCH)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.environments", description=__doc__)
    names = [environment.package for environment in ALL]
    parser.add_argument("names", nargs="*", choices=[*names, []], metavar="NAME", help=f"{', '.join(names)}; all")
    given = parser.parse_args()
    for environment in ALL:
        if environment.package in (given.names or names):
            try:
                environment.make()
            except EnvironmentFailedError as error:
                sys.exit(str(error))


if __name__ == "__main__":
    main()
