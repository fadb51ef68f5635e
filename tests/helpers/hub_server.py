"""A server that speaks the hub's protocol, as far as reading models needs it, with every fault that a hub may have.

Files of git-lfs are redirected to a second server, as the hub does, which must never see a token.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LFS = (".safetensors", ".bin", ".gguf", ".model")


@dataclass
class Repository:
    files: dict[str, bytes]
    commit: str = ""
    gated: bool = False
    private: bool = False
    refs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in sorted(self.files.items())})
        self.commit = self.commit or hashlib.sha1(content.encode()).hexdigest()
        self.refs = {"main": self.commit, **self.refs}


@dataclass
class Hub:
    url: str = ""
    storage_url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Server, method and path, range, authorization."""
    busy: int = 0
    """How many requests are answered with 503 first."""
    cut: int = 0
    """How many whole downloads break off in the middle."""
    ignores_ranges: bool = False
    damaged: bool = False
    sent: int = 0
    """Bytes of weights that left the storage."""

    def add(self, name: str, folder: Path, **options: object) -> Repository:
        files = {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }
        self.repositories[name] = Repository(files, **options)  # type: ignore[arg-type]
        return self.repositories[name]

    def fetched(self) -> list[str]:
        """Names of the files that were asked for whole."""
        return [
            path.rpartition("/")[2].partition("?")[0]
            for _, line, ranged, _ in self.requests
            if line.startswith("GET ") and "/api/" not in line and not ranged
            for path in (line.removeprefix("GET "),)
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _note(self, server: str) -> None:
        line = f"{self.command} {self.path}"
        self.hub.requests.append((server, line, self.headers.get("Range", ""), self.headers.get("Authorization", "")))

    def _answer(self) -> None:
        self._note("hub")
        if self.hub.busy:
            self.hub.busy -= 1
            return self._send(503, b"busy")
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            return self._api(name, revision or "main")
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        return self._file(name, revision, file)

    def _allowed(self, repository: Repository) -> bool:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") in self.hub.tokens

    def _api(self, name: str, revision: str) -> None:
        if name in self.hub.moved:
            rest = self.path.removeprefix(f"/api/models/{name}")
            return self._send(307, b"", {"Location": f"/api/models/{self.hub.moved[name]}{rest}"})
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._allowed(repository)):
            return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        commit = repository.refs.get(revision, revision)
        if commit != repository.commit:
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {
                "rfilename": file,
                "size": len(data),
                "blobId": hashlib.sha1(data).hexdigest(),
                **({"lfs": {"sha256": _sha256(data), "size": len(data), "pointerSize": 130}} if _is_lfs(file) else {}),
            }
            for file, data in repository.files.items()
        ]
        answer = {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": [], "private": False}
        return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, file: str) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        if repository.gated and not self._allowed(repository):
            return self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        headers = {"X-Repo-Commit": repository.commit}
        if file not in repository.files:
            return self._send(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
        data = repository.files[file]
        if _is_lfs(file):
            linked = {"X-Linked-Etag": f'"{_sha256(data)}"', "X-Linked-Size": str(len(data))}
            return self._send(302, b"", {**headers, **linked, "Location": f"{self.hub.storage_url}/{name}/{file}"})
        return self._send(200, data, {**headers, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True


class _Storage(_Handler):
    def _answer(self) -> None:
        self._note("storage")
        path = unquote(urlsplit(self.path).path).strip("/")
        owner, name, file = path.split("/", 2)
        data = self.hub.repositories[f"{owner}/{name}"].files[file]
        if self.hub.damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        headers = {"Accept-Ranges": "bytes"}
        ranged = self.headers.get("Range")
        if not ranged or self.hub.ignores_ranges:
            if self.hub.cut:
                self.hub.cut -= 1
                return self._send(200, data, headers, cut=len(data) // 2)
            self.hub.sent += len(data)
            return self._send(200, data, headers)
        first, _, last = ranged.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        self.hub.sent += len(part)
        headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        return self._send(206, part, headers)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub and its storage, each on a port of its own."""
    hub = Hub()
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub})) for kind in (_Handler, _Storage)
    ]
    hub.url, hub.storage_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _is_lfs(name: str) -> bool:
    return name.endswith(LFS)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
