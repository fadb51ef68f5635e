"""What is checked before a cluster is used: addresses, versions, storage; none of it starts Ray."""

from __future__ import annotations

import http.server
import importlib.util
import os
import socket
import threading
from pathlib import Path

import pytest

import mergeometry as mg
from mergeometry.errors import ExecutionError, RecipeError
from mergeometry.execution.cluster import connection, look
from mergeometry.execution.cluster.jobs import rounded
from mergeometry.execution.executor import LOCAL, chosen_executor
from tests.helpers.commands import invoke


def test_an_executor_by_name() -> None:
    assert chosen_executor("local") is LOCAL and chosen_executor("ray") == mg.Ray("auto")
    assert chosen_executor("ray", "ray://head:10001") == mg.Ray("ray://head:10001")
    assert chosen_executor(mg.Ray("local")) == mg.Ray("local")
    for name, address, wanted in (
        ("dask", None, "there is no executor 'dask'"),
        ("local", "auto", "the local executor has no address"),
        (mg.Ray("auto"), "auto", "an executor has its address already"),
    ):
        with pytest.raises(RecipeError, match=wanted):
            chosen_executor(name, address)
    shown = invoke("merge", "--executor", "dask", "--output", "out")
    assert shown.exit_code == 2 and "the executors are local and ray" in shown.output


def test_without_ray_the_command_that_installs_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    with pytest.raises(RecipeError, match="Ray, which is not installed") as caught, mg.Ray("auto").opened():
        pass
    assert "pip install 'mergeometry[ray]'" in str(caught.value.hint)


@pytest.mark.parametrize("address", ["head", "head:port", "ray://head", "http://head:1", "ray://head:1/x", ":6379"])
def test_a_malformed_address(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(RecipeError, match="is no address of a Ray cluster"), mg.Ray(address).opened():
        pass


def test_nobody_at_an_address_and_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:  # bound and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            wanted = f"nothing answers at the cluster's address {address}"
            with pytest.raises(ExecutionError, match=wanted), mg.Ray(address).opened():
                pass
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ExecutionError, match="is not Ray"), mg.Ray(f"127.0.0.1:{server.server_port}").opened():
            pass
        server.shutdown()


def test_what_a_node_says_of_the_shared_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setattr(look, "_PATIENCE", 0.1)
    token, inputs = tmp_path / "shared" / "token", [tmp_path / f"input{number}" for number in range(6)]
    token.parent.mkdir()
    stamps = []
    for file in inputs:
        file.write_text("weights")
        status = file.stat()
        stamps.append([str(file), [status.st_ino, status.st_size, status.st_mtime_ns]])

    def found(secret: str = "s") -> list[str]:
        token.write_text(json.dumps({"secret": "s", "files": stamps}))
        return look.storage(str(token), secret)["problems"]

    assert found() == []
    written = [path for path in token.parent.iterdir() if path != token]
    assert [look.read_late(path, "s") for path in written] == [{"secret": "s"}]
    assert found("other") == [f"it reads something else than was written: {token}"]
    inputs[0].unlink()
    inputs[1].write_text("others")
    stamps[2][1][0] += 1
    assert found() == [
        f"it cannot open an input (No such file or directory): {inputs[0]}",
        f"it sees another file under an input's path: {inputs[1]}",
        f"its file system numbers an input otherwise: {inputs[2]}",
    ]
    for stamp in stamps[3:]:
        stamp[1][1] = 0
    assert found()[-1] == "and 3 more files"
    missing = look.storage(str(tmp_path / "mount" / "shared" / "token"), "s")
    assert missing["answer"] is None and "it does not see the output's folder" in missing["problems"][0]


def test_what_a_node_runs() -> None:
    own = look.software(["torch", "nothing-of-this-name"])
    assert own["nothing-of-this-name"] == "missing" and len(own["code"]) == 64
    assert own["torch"] and own["instructions"] and own["python"].count(".") == 2
    spec = importlib.util.find_spec("mergeometry.execution.cluster.look")
    assert spec is not None and spec.origin is not None
    # The nodes get its functions by value: they may not have the package that it belongs to.
    assert "mergeometry." not in Path(spec.origin).read_text().replace('find_spec("mergeometry")', "")


def test_memory_is_asked_for_in_few_amounts() -> None:
    amounts = {number: rounded(number) for number in range(1, 100_000, 7)}
    assert all(number <= amount <= number * 1.25 for number, amount in amounts.items())
    assert len(set(amounts.values())) < 70 and rounded(0) == 0


def test_a_stamp_is_the_same_on_every_machine(tmp_path: Path) -> None:
    from mergeometry.sources.files import opened

    (tmp_path / "file").write_text("x")
    with opened(tmp_path / "file", None) as (descriptor, stamp):
        assert os.fstat(descriptor).st_dev not in stamp[1:] or len(stamp) == 3
    assert stamp._fields == ("inode", "size", "modified_ns")
