"""Power loss: replay every prefix of the recorded operations with unsynced ones dropped; never half a folder."""

import random

import pytest

from tests.helpers.power_loss import Disk, File, RecordingFileSystem
from tests.helpers.sink_run import OLD, content, put_old, run


def put_durable(disk, target):
    put_old(target)
    disk.apply("make_folder", target)
    disk.apply("make_folder", target / "1_Pooling")
    for name, data in OLD.items():
        disk.node((target / name).parent).entries[target.joinpath(name).name] = File(data, data)
    for folder in (target / "1_Pooling", target, target.parent):
        disk.apply("sync_folder", folder)


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_prefix_leaves_an_incomplete_folder(tmp_path, overwrite):
    target, files, disk = tmp_path / "out", RecordingFileSystem(), Disk(tmp_path)
    if overwrite:
        put_durable(disk, target)
    run(target, files, overwrite=overwrite)
    new = content(target)
    generator = random.Random(0)
    seen = set()
    for operation in [None, *files.log]:
        if operation is not None:
            disk.apply(*operation)
        mixtures = [lambda folder: True, lambda folder: False]
        for _ in range(8):
            choice = {}
            mixtures.append(lambda folder, choice=choice: choice.setdefault(id(folder), generator.random() < 0.5))
        for reached in mixtures:
            entries = disk.top.entries if reached(disk.top) else disk.top.durable
            state = disk.after_power_loss(entries["out"], reached) if "out" in entries else None
            # Removing the old folder happens where it was staged, never at the target.
            assert state in ([OLD, new] if overwrite else [None, new]), operation
            seen.add(state == new)
    assert seen == {False, True}
    assert state == new, "and in the end nothing may still depend on luck"


def test_the_model_of_the_disk_catches_a_missing_sync(tmp_path):
    caught = set()
    for skipped in ("sync_file", "sync_folder"):
        target, files, disk = tmp_path / skipped / "out", RecordingFileSystem(), Disk(tmp_path / skipped)
        target.parent.mkdir()
        run(target, files)
        new = content(target)
        for operation in [entry for entry in files.log if entry[0] != skipped]:
            disk.apply(*operation)
            for whole in (True, False):
                top = disk.top.entries if whole else disk.top.durable
                # The rename reached the disk; inside, nothing that was not synced did.
                if "out" in top and disk.after_power_loss(top["out"], lambda folder: False) != new:
                    caught.add(skipped)
    assert caught == {"sync_file", "sync_folder"}
