"""Die at every operation on files: the target is what it was, or whole; a resumed run gives the same bytes."""

import errno
import shutil

import pytest

from mergeometry.errors import OutputError
from mergeometry.sink import remove_stale
from tests.helpers.sink_run import LAYOUT, OLD, SIDECARS, TENSORS, Died, FaultyFileSystem, content, put_old, run

CASES = [(False, True), (True, True), (True, False)]


def expected(folder):
    run(folder / "reference", FaultyFileSystem())
    whole = content(folder / "reference")
    assert whole is not None
    names = {"mergeometry.json", *LAYOUT.indexes, *SIDECARS}
    assert set(whole) == {file.name for file in LAYOUT.files} | names
    assert len(LAYOUT.files) > 1
    return whole


def operations(folder, overwrite, exchange):
    files = FaultyFileSystem(exchange=exchange)
    target = folder / "count"
    if overwrite:
        put_old(target)
    run(target, files, overwrite=overwrite)
    return files.count


def finish(target, new, overwrite):
    """Run again with --resume; a target that is already whole is refused, and only leftovers remain to be removed."""
    if not overwrite and content(target) == new:
        with pytest.raises(OutputError, match="exists already"):
            run(target, FaultyFileSystem(), resume=True)
        remove_stale(target)
        return []
    return run(target, FaultyFileSystem(), overwrite=overwrite, resume=True)


@pytest.mark.parametrize("overwrite, exchange, mode", [*((*case, "die") for case in CASES), (False, True, "half")])
def test_death_at_every_operation(tmp_path, overwrite, exchange, mode):
    new = expected(tmp_path)
    seen = set()
    count = operations(tmp_path, overwrite, exchange)
    for place in range(count):
        folder = tmp_path / str(place)
        target = folder / "out"
        folder.mkdir()
        if overwrite:
            put_old(target)
        files = FaultyFileSystem(place, mode, exchange=exchange)
        with pytest.raises(Died):
            run(target, files, overwrite=overwrite)
        state = content(target)
        if state is None and overwrite:
            assert not exchange, "only two renames leave a moment without a target"
            assert remove_stale(target)
            assert content(target) == OLD
            put_old(target)
        else:
            assert state in (OLD if overwrite else None, new)
        seen.add("new" if state == new else "old")
        finish(target, new, overwrite)
        assert content(target) == new
        assert [path.name for path in folder.iterdir()] == ["out"], f"leftovers after operation {place}"
        shutil.rmtree(folder)
    assert seen == {"old", "new"}
    assert count > 40


def test_two_renames_are_undone_by_a_resumed_run(tmp_path):
    new = expected(tmp_path)
    absent = 0
    for place in range(operations(tmp_path, True, False)):
        target = tmp_path / str(place)
        put_old(target)
        with pytest.raises(Died):
            run(target, FaultyFileSystem(place, exchange=False), overwrite=True)
        if content(target) is None:
            absent += 1
            with pytest.raises(OutputError, match="exists already"):
                run(target, FaultyFileSystem(), resume=True)  # brings the old one back, then refuses it
            assert content(target) == OLD
            assert run(target, FaultyFileSystem(), overwrite=True, resume=True) == []
            assert content(target) == new
    assert absent == 1


def test_at_most_one_tensor_is_done_again(tmp_path):
    again = []
    for place in range(operations(tmp_path, False, True)):
        target = tmp_path / str(place)
        files = FaultyFileSystem(place)
        with pytest.raises(Died):
            run(target, files)
        if target.exists():
            continue
        journals = list(tmp_path.glob(f".{place}.*/journal.jsonl"))
        journalled = journals[0].read_bytes().count(b"\n") - 1 if journals else 0
        computed = run(target, FaultyFileSystem(), resume=True)
        again.append(len(computed) + max(0, journalled) - len(TENSORS))
    assert set(again) == {0}


@pytest.mark.parametrize("overwrite, exchange", CASES)
def test_one_failing_operation_at_every_place(tmp_path, overwrite, exchange):
    new = expected(tmp_path)
    for place in range(operations(tmp_path, overwrite, exchange)):
        target = tmp_path / str(place)
        if overwrite:
            put_old(target)
        notes = []
        try:
            run(target, FaultyFileSystem(place, "fail", exchange=exchange), overwrite=overwrite, notes=notes)
        except OutputError as error:
            confirmed = "did not confirm" not in str(error)
            assert content(target) == ((OLD if overwrite else None) if confirmed else new), place
        else:
            assert content(target) == new
            assert all("could not be removed" in note for note in notes)
        if content(target) != new:
            finish(target, new, overwrite)
        assert content(target) == new
        remove_stale(target)
        assert not list(tmp_path.glob(f".{place}.*"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_names_the_room_needed_and_free(tmp_path, code):
    places = 0
    for place in range(operations(tmp_path, False, True)):
        files = FaultyFileSystem(place, "fail", code)
        target = tmp_path / str(place)
        try:
            run(target, files, notes=[])
        except OutputError as error:
            places += "needed" in str(error) and "free" in str(error)
    assert places > 20
