"""Converts one pickled file to safetensors, in a process of its own that may do little else.

Run as a script, with the folder of torch, the input and the output: it imports nothing of mergeometry. The unpickler
is torch's own with `weights_only`, which builds tensors and plain containers and calls nothing else. In case it has a
flaw, the process has no network, no environment, a bounded address space, and may start no program. Says on standard
output what happened, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights: Lightning and timm, many scripts, fairseq and DeiT."""
_CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint16": "U16",
    "uint32": "U32", "uint64": "U64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float16": "F16",
    "bfloat16": "BF16", "float32": "F32", "float64": "F64", "complex64": "C64",
}  # fmt: skip
_FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.startfile",
    "ctypes.dlopen",
)
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_SPARE = 1 << 30
_PIECE = 1 << 24
_MOST_GROWTH = 4
"""Largest output, in sizes of the input: tensors that share their memory are written once each."""


class Refused(Exception):  # noqa: N818
    """The file is not one to convert; the text says why."""


def main() -> None:
    """Convert the file that the command line names."""
    packages, source, target = sys.argv[1:]
    sys.path.insert(0, packages)
    import torch  # noqa: PLC0415

    size = Path(source).stat().st_size
    _confine(size)
    try:
        tensors, notes = _weights(_loaded(torch, source), torch)
        _write(tensors, Path(target), _MOST_GROWTH * size + (1 << 20))
        answer = {"notes": notes}
    except Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "it asks for far more memory than its size explains"}
    except Exception as error:
        answer = {"refused": f"{type(error).__name__}: {str(error)[:300]}"}
    sys.stdout.write(json.dumps(answer))


def _confine(size: int) -> None:
    """Give up the network, other programs, and all memory but what such a file needs."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Not every kernel lets a user do so; what follows holds everywhere.
    unshare = getattr(libc, "unshare", lambda _: -1)
    _ = unshare(_NEW_NETWORK) and unshare(_NEW_USER | _NEW_NETWORK)

    def refuse(event: str, _: Any) -> None:
        if event.startswith(_FORBIDDEN):
            raise Refused(f"it tries to use {event}, which is not data")

    sys.addaudithook(refuse)
    pages = Path("/proc/self/statm")
    used = int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 8 << 30
    most = used + 3 * size + _SPARE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _loaded(torch: Any, source: str) -> Any:
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
    return torch.load(source, map_location="cpu", weights_only=True)  # the format before torch 1.6


def _weights(loaded: Any, torch: Any) -> tuple[dict[str, Any], list[str]]:
    """The tensors by name, and notes on what is left out."""
    if not isinstance(loaded, Mapping):
        raise Refused(f"it holds a {type(loaded).__name__}, not weights by name")
    wrapped = [key for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)]
    notes: list[str] = []
    if len(wrapped) > 1:
        raise Refused(f"it holds several sets of weights: {', '.join(wrapped)}")
    if wrapped:
        loose = [key for key, value in loaded.items() if isinstance(value, torch.Tensor)]
        if loose:
            raise Refused(f"it holds tensors beside those under {wrapped[0]!r}: {', '.join(map(str, loose[:5]))}")
        left = [str(key)[:80] for key in loaded if key != wrapped[0]]
        notes.append(
            f"the weights are those under {wrapped[0]!r}" + (f"; left out: {', '.join(left[:20])}" if left else "")
        )
        loaded = loaded[wrapped[0]]
    others = [
        f"{str(key)[:80]!r} ({type(value).__name__})"
        for key, value in loaded.items()
        if not isinstance(value, torch.Tensor)
    ]
    if others:
        raise Refused(f"it holds entries that are no tensors: {', '.join(others[:5])}")
    if not loaded:
        raise Refused("it holds no tensor")
    for name, tensor in loaded.items():
        code = str(tensor.dtype).removeprefix("torch.")
        if not isinstance(name, str) or not name:
            raise Refused(f"a tensor is named {name!r}")
        if tensor.layout is not torch.strided or tensor.is_quantized or code not in _CODES:
            raise Refused(
                f"the tensor {name!r} is {code} with the layout {tensor.layout}, which safetensors cannot hold"
            )
    return dict(loaded), notes


def _write(tensors: Mapping[str, Any], target: Path, most: int) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, tensor in tensors.items():
        nbytes = tensor.numel() * tensor.element_size()
        code = _CODES[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [place, place + nbytes]}
        place += nbytes
    if place > most:
        raise Refused(f"its tensors take {place:,} bytes, far more than the file")
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with target.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in tensors.values():
            for piece in _pieces(tensor.detach()):
                file.write(piece)


def _pieces(tensor: Any) -> Iterator[memoryview]:
    import torch  # noqa: PLC0415

    flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    for first in range(0, len(flat), _PIECE):
        yield memoryview(flat[first : first + _PIECE])


if __name__ == "__main__":
    main()
