"""Staging: what is refused, what is kept, what is resumed."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from mergeometry.errors import OutputError
from mergeometry.sink import FileSystem, OutputTensor, SlotWriter, Staging, lay_out, remove_stale
from mergeometry.sink.lock import RunLock
from tests.helpers.sink_run import record_of

LAYOUT = lay_out([OutputTensor("a", "F32", (3,)), OutputTensor("b", "F32", (2, 2))], shard_size=1 << 20)
VALUES = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


class TinyDisk(FileSystem):
    def free_bytes(self, path):
        return 100


def fill(staging, names=("a", "b")):
    with SlotWriter(staging.folder) as writer:
        for name in names:
            staging.journal(name, {"digest": writer.write(LAYOUT.slots[name], VALUES[name]), "seconds": 1.5})


def stop_after(target, names, fingerprint="f", **options):
    with pytest.raises(RuntimeError), Staging(target, **options) as staging:
        staging.create(LAYOUT, fingerprint)
        fill(staging, names)
        staging.write_file("stale.json", b"stale")
        raise RuntimeError("stop")
    return staging


def complete(target, fingerprint="f", **options):
    with Staging(target, **options) as staging:
        staging.create(LAYOUT, fingerprint)
        done = staging.completed()
        fill(staging, [name for name in VALUES if name not in done])
        assert staging.publish() == ()
    return staging.resumed, done


def test_publishes_whole_with_missing_parents(tmp_path):
    target = tmp_path / "runs" / "one" / "out"
    with Staging(target) as staging:
        staging.create(LAYOUT, "f", extra_bytes=10)
        fill(staging)
        assert staging.write_file("1_Pooling/config.json", b"{}") == staging.write_file("config.json", b"{}")
        source = tmp_path / "source"
        source.write_bytes(b"tokens")
        staging.copy_file("tokenizer.json", source)
        assert not target.exists()
        assert staging.publish() == ()
    assert not staging.kept
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == [
        "1_Pooling", "1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert (target / "config.json").stat().st_mode & 0o777 == 0o666 & ~_mask()


def _mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_empty_folder_is_replaced_and_anything_else_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    complete(tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("empty", "file", "link", "dangling"):
        with pytest.raises(OutputError):
            Staging(tmp_path / name)
    for name in ("file", "link", "dangling"):
        with pytest.raises(OutputError):
            Staging(tmp_path / name, overwrite=True)
    assert not list(tmp_path.glob(".*"))


def test_overwrite_replaces_no_input_and_no_folder_of_the_user(tmp_path, monkeypatch):
    project = tmp_path / "project"
    inner = project / "inner"
    inner.mkdir(parents=True)
    (project / "model.safetensors").write_text("")
    (project / "mergeometry.json").write_bytes(record_of("model.safetensors", "inner"))
    Staging(project, overwrite=True)
    with pytest.raises(OutputError, match="one of the inputs"):
        Staging(project, overwrite=True, inputs=[inner])
    with pytest.raises(OutputError, match="one of the inputs"):
        Staging(inner, inputs=[inner])
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "model.safetensors").symlink_to(project / "model.safetensors")
    with pytest.raises(OutputError, match="one of the inputs"):
        Staging(project, overwrite=True, inputs=[linked])
    monkeypatch.chdir(inner)
    for target in (project, inner, Path(), Path("..")):
        with pytest.raises(OutputError, match="current folder"):
            Staging(target, overwrite=True)
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(inner))
    with pytest.raises(OutputError, match="home folder"):
        Staging(project, overwrite=True)
    with pytest.raises(OutputError, match="root"):
        Staging("/", overwrite=True)


def test_a_link_among_the_staged_files_is_removed_and_not_followed(tmp_path):
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "thesis.txt").write_text("mine")
    place = tmp_path / ".out.mergeometry-staging"
    place.mkdir()
    for name in ("old", "folder-0123"):
        (place / name).symlink_to(kept)
    assert remove_stale(tmp_path / "out")
    assert not place.exists() and not os.path.lexists(tmp_path / "out")
    assert (kept / "thesis.txt").read_text() == "mine"


def test_overwrite_leaves_no_stale_file(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "model-00001-of-00002.safetensors").write_text("old")
    (target / "model.safetensors.index.json").write_text("{}")
    names = [path.name for path in target.iterdir()]
    (target / "mergeometry.json").write_bytes(record_of(*names))
    complete(target, overwrite=True)
    assert [path.name for path in target.iterdir()] == ["model.safetensors"]
    assert not list(tmp_path.glob(".*"))


def test_failure_keeps_staging_only_when_there_is_something_to_resume(tmp_path):
    assert not stop_after(tmp_path / "out", []).kept
    assert not list(tmp_path.iterdir())
    assert stop_after(tmp_path / "out", ["a"]).kept
    assert [path.name for path in tmp_path.iterdir()] == [".out.mergeometry-staging"]
    resumed, done = complete(tmp_path / "out", resume=True)
    assert resumed and done.keys() == {"a"} and done["a"]["seconds"] == 1.5
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_an_error_before_create_keeps_what_can_be_resumed(tmp_path):
    stop_after(tmp_path / "out", ["a"])
    with pytest.raises(RuntimeError), Staging(tmp_path / "out", resume=True) as staging:
        raise RuntimeError
    assert staging.kept
    assert complete(tmp_path / "out", resume=True)[0]


@pytest.mark.parametrize("options", [{"resume": False}, {"resume": True, "fingerprint": "another"}])
def test_another_run_starts_afresh(tmp_path, options):
    stop_after(tmp_path / "out", ["a"])
    assert complete(tmp_path / "out", **options) == (False, {})
    assert not list(tmp_path.glob(".*"))


def test_another_layout_starts_afresh(tmp_path):
    stop_after(tmp_path / "out", ["a"])
    with Staging(tmp_path / "out", resume=True) as staging:
        staging.create(lay_out([OutputTensor("a", "F32", (4,))], shard_size=1 << 20), "f")
        assert not staging.resumed and staging.completed() == {}
    assert not list(tmp_path.iterdir())


def damage_bytes(root, folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(LAYOUT.slots["a"].start)
        file.write(b"\xff")
    return {"b"}


def tear_last_line(root, folder):
    journal = root / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    return {"a"}


def add_rubbish(root, folder):
    with (root / "journal.jsonl").open("ab") as file:
        file.write(
            b'\n\0\0\0\n[]\n{"name": 3}\n{"name": "ghost", "record": {"digest": "0"}}\n' + b"[" * 100_000 + b"\n{"
        )
    return {"a", "b"}


def lose_head(root, folder):
    journal = root / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[10:])


def cut_weights(root, folder):
    os.truncate(folder / "model.safetensors", 100)


def change_header(root, folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"\x01")


def lead_away(root, folder):
    journal = root / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(folder.name.encode(), b".."))


@pytest.mark.parametrize(
    "damage", [damage_bytes, tear_last_line, add_rubbish, lose_head, cut_weights, change_header, lead_away]
)
def test_only_what_is_whole_is_resumed(tmp_path, damage):
    complete(tmp_path / "reference")
    stop_after(tmp_path / "out", ["a", "b"])
    root = tmp_path / ".out.mergeometry-staging"
    expected = damage(root, next(root.glob("folder-*")))
    resumed, done = complete(tmp_path / "out", resume=True)
    assert (set(done) if resumed else None) == expected
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "reference" / name).read_bytes()


def test_interrupt_is_a_failure_like_any_other(tmp_path):
    with pytest.raises(KeyboardInterrupt), Staging(tmp_path / "out") as staging:
        staging.create(LAYOUT, "f")
        fill(staging)
        raise KeyboardInterrupt
    assert staging.kept and not (tmp_path / "out").exists()
    assert remove_stale(tmp_path / "out") and not remove_stale(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_publish_refuses_what_is_incomplete_or_taken(tmp_path):
    target = tmp_path / "out"
    with pytest.raises(OutputError, match="1 tensors"), Staging(target) as staging:
        staging.create(LAYOUT, "f")
        fill(staging, ["a"])
        staging.publish()
    assert not target.exists()
    with pytest.raises(OutputError, match="something else already exists"), Staging(target, resume=True) as staging:
        staging.create(LAYOUT, "f")
        staging.completed()
        fill(staging, ["b"])
        target.mkdir()
        (target / "somebody's").write_text("mine")
        staging.publish()
    assert [path.name for path in target.iterdir()] == ["somebody's"]


def test_disk_too_small_names_both_figures(tmp_path):
    with pytest.raises(OutputError) as caught, Staging(tmp_path / "out", files=TinyDisk()) as staging:
        staging.create(LAYOUT, "f", extra_bytes=5_200_000_000)
    assert "5.2 GB needed, 100 bytes free" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not list(tmp_path.iterdir())


def test_room_counts_what_is_there_already(tmp_path):
    stop_after(tmp_path / "out", ["a"])
    complete(tmp_path / "out", resume=True, files=TinyDisk())


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "", "a//b", "a\\b", ".", "a\0b"])
def test_no_file_leaves_the_folder(tmp_path, name):
    with Staging(tmp_path / "out") as staging:
        staging.create(LAYOUT, "f")
        with pytest.raises(OutputError, match="leads out"):
            staging.write_file(name, b"")
        with pytest.raises(OutputError, match="something else already exists"):
            staging.write_file("model.safetensors", b"")
    assert not list(tmp_path.iterdir())


def test_something_strange_at_the_staging_place(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".out.mergeometry-staging").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="not a folder"), Staging(tmp_path / "out"):
        pass
    with pytest.raises(OutputError, match="name"), Staging(tmp_path / ("x" * 250)):
        pass


def test_a_run_that_ends_while_another_begins(tmp_path):
    class Late(FileSystem):
        """The other run removes its staging folder after ours failed to make it, and before ours looks at it."""

        tries = 0

        def make_folder(self, path):
            self.tries += 1
            if self.tries == 1:
                raise FileExistsError(path)
            super().make_folder(path)

    root = tmp_path / ".out.mergeometry-staging"
    lock = RunLock(root, files := Late())
    lock.acquire()
    assert files.tries == 2 and root.is_dir()
    lock.release()
    assert not root.exists()


def test_parent_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), Staging(tmp_path / "file" / "out"):
        pass
