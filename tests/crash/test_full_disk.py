"""A disk that is full, of bytes or of files: told with what is needed and free, and nothing is published."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import OutputError
from mergeometry.execution import compute, pool
from tests.helpers import models
from tests.helpers.forked import finished
from tests.helpers.small_disks import small_disk
from tests.helpers.whole_merges import content, merge_and_die, note, noted, write_inputs

Record = Callable[[str, object], None]
_NEEDED = re.compile(r"[\d.]+ \w+ needed, [\d.]+ \w+ free")
_NUMBERS = 1 << 20


def large_inputs(folder: Path) -> dict[str, Any]:
    """Models of 12 MB, which a disk of 8 MB does not hold."""
    return models.write_family(folder, 2, shapes={f"layer.{number}.dense.weight": (1024, 1024) for number in range(3)})


def test_a_disk_that_is_too_small_is_told_first(tmp_path: Path) -> None:
    recipe = {**large_inputs(tmp_path), "method": "average"}
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        seen: list[object] = []
        with pytest.raises(OutputError, match=_NEEDED.pattern):
            mg.merge(recipe, disk / "out", workers=1, progress=seen.append)
        assert not seen and not list(disk.iterdir())


@pytest.mark.suite
@pytest.mark.parametrize("left", [0, 4_096, 12_288])
def test_a_disk_that_fills_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """The blocks of the weights are reserved; what fills the disk takes the room of the journal and the other files."""
    recipe = {**write_inputs(tmp_path), "method": "average"}
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        real = compute.compute

        def filling(job: compute.Job) -> compute.Outcome:
            fill(disk / "other", left)
            return real(job)

        monkeypatch.setattr(pool, "compute", filling)
        with pytest.raises(OutputError, match=_NEEDED.pattern) as caught:
            mg.merge(recipe, disk / "out", workers=1)
        assert "free some space" in str(caught.value) and not (disk / "out").exists()
        (disk / "other").unlink()
        monkeypatch.setattr(pool, "compute", real)
        mg.merge(recipe, disk / "out", workers=1, resume=True)
        mg.merge(recipe, tmp_path / "whole", workers=1)
        assert content(disk / "out") == content(tmp_path / "whole")


def fill(file: Path, left: int) -> None:
    """Take every block of a disk but ``left`` bytes."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while (free := os.statvfs(file).f_bavail * os.statvfs(file).f_bsize - left) > 0:
            os.write(descriptor, bytes(min(free, _NUMBERS)))
    except OSError:
        pass  # to the last byte
    finally:
        os.close(descriptor)


def test_inodes_are_not_bytes(tmp_path: Path) -> None:
    recipe = {**write_inputs(tmp_path), "method": "average"}
    with small_disk(tmp_path / "disk", "size=8m,nr_inodes=40") as disk:
        for spare in range(12):
            taken = take_inodes(disk, spare)
            try:
                mg.merge(recipe, disk / "out", workers=1)
            except OutputError as error:
                assert "no inodes left" in str(error) and "disk is full" not in str(error), error
                assert not (disk / "out").exists()
                for file in taken:
                    file.unlink()
                continue
            break
        assert spare > 4, "a merge needs several files, so that some of these disks were full"
        assert (disk / "out" / "mergeometry.json").exists()


def take_inodes(disk: Path, spare: int) -> list[Path]:
    """Make empty files until ``spare`` are left."""
    taken = [disk / f"file{number}" for number in range(os.statvfs(disk).f_favail - spare)]
    for file in taken:
        file.touch()
    return taken


def limited(recipe: dict[str, Any], target: Path, log: Path, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        mg.merge(recipe, target, workers=1)
    except OutputError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        note(log, f"error {str(error)!r}")


@pytest.mark.suite
def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    recipe = {**write_inputs(tmp_path), "method": "average"}
    for limit in (0, 100, 700, 2_000):
        log = tmp_path / f"log{limit}"
        assert finished(limited, recipe, tmp_path / "out", log, limit) == 0
        (said,) = noted(log, "error")
        assert "may not grow so large" in said and "ulimit -f" in said, said
        assert not (tmp_path / "out").exists()


@pytest.mark.torture
def test_a_disk_that_fills_at_every_operation(tmp_path: Path, record_property: Record) -> None:
    recipe = {**write_inputs(tmp_path), "method": "average"}
    log = tmp_path / "log"
    assert finished(merge_and_die, recipe, tmp_path / "whole", log, None, "full") == 0
    count = int(noted(log, "operations")[0])
    told = 0
    for place in range(count):
        log, target = tmp_path / f"log{place}", tmp_path / f"out{place}"
        assert finished(merge_and_die, recipe, target, log, place, "full") == 0
        errors = noted(log, "error")
        told += bool(errors)
        # An operation that does not write needs no room, and after publishing there is nothing left to refuse.
        assert (content(target) == content(tmp_path / "whole")) or (errors and not target.exists()), place
        assert all("Output" in error for error in errors), errors
    assert told > 20
    record_property("operations", count)
