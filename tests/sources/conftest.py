"""Builders of files that the format's own library would refuse to write."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., Path]


def file_bytes(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Write a safetensors file from a raw or structured header, data, and possibly a lie about the length."""

    def write(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None, name: str = "x") -> Path:
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(file_bytes(header, data, length))
        return path

    return write
