"""The connection to a Ray cluster: reached within a bounded time or refused, and closed by whoever opened it."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from mergeometry.errors import ExecutionError, RecipeError
from mergeometry.plan import machine
from mergeometry.words import install_extra

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 20.0
"""How long a server may take until it answers as Ray does: one that is up does so at once."""

_OBJECT_BYTES = 200_000_000
"""Shared memory of a Ray that we start: what passes through it is descriptions of jobs, no tensors."""

_TEMPORARY = 30
"""How long the path of the folder for temporary files may be: the paths of Ray's sockets in it have a limit."""

_STATISTICS = "RAY_USAGE_STATS_ENABLED"

_ADDRESSES = "an address is auto, local, HOST:PORT or ray://HOST:PORT"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module ``ray``, connected to the cluster at ``address``; a connection that is open already is used.

    Raises:
        RecipeError: Ray is not installed, or the address is malformed.
        ExecutionError: there is no cluster at the address, or it is of another version.
    """
    if find_spec("ray") is None:
        raise RecipeError("the executor `ray` needs Ray, which is not installed", hint=install_extra("ray"))
    if (ray := sys.modules.get("ray")) is not None and ray.is_initialized():
        yield ray
        return
    with _of_our_own() if address == "local" else _joined(address) as options:
        yield from _held(address, options)


def _held(address: str, options: Mapping[str, Any]) -> Iterator[Any]:
    import ray  # noqa: PLC0415  (a second)

    ours = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit, which Ray raises where it gives up
        ray.shutdown()
        reason = " ".join(str(error).split())[:500]
        raise ExecutionError(
            f"the Ray cluster cannot be joined: {type(error).__name__}: {reason}",
            hint=f"{_ADDRESSES}; HOST:PORT must be joined on one of its nodes, ray://HOST:10001 from anywhere",
        ) from error
    finally:
        _restore(ours)
    try:
        yield ray
    finally:
        ray.shutdown()
        _restore(ours)


def _restore(handler: Any) -> None:
    """Take back the handler of SIGTERM, which Ray replaces; only the main thread may."""
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _of_our_own() -> Iterator[dict[str, Any]]:
    """The settings of a Ray of this machine alone: no dashboard, no usage statistics, a token for every call.

    Ray's servers listen on every network interface, and whoever may call them may run code.
    """
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        # Ray reads them once, when it is imported, so they stay: a later Ray of this process has the same token.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    earlier = os.environ.get(_STATISTICS)
    os.environ[_STATISTICS] = "0"
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _TEMPORARY else "/tmp"  # noqa: S108
    folder = tempfile.mkdtemp(prefix="ray-", dir=short)
    try:
        yield {
            "address": "local",
            "num_cpus": machine.cores(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_BYTES,
            "_memory": machine.available_memory() or None,
            "_temp_dir": folder,
        }
    finally:
        if earlier is None:
            del os.environ[_STATISTICS]
        else:
            os.environ[_STATISTICS] = earlier
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _joined(address: str) -> Iterator[dict[str, Any]]:
    """The settings for a cluster that runs already, once somebody answers at its address."""
    where = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    if where == "auto":
        yield {"address": "auto"}
        return
    host, port = _host_and_port(where)
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ExecutionError(
            f"nothing answers at the cluster's address {where}: {error.strerror or error}",
            hint="`ray status` on the head node shows its address; a firewall may be in between",
        ) from error
    if not os.environ.get("RAY_USE_TLS"):
        _refuse_others(where, f"{host}:{port}")
    yield {"address": where}


def _refuse_others(address: str, place: str) -> None:
    """Refuse a server that is not one of Ray's: Ray itself would try for minutes."""
    import grpc  # noqa: PLC0415

    with grpc.insecure_channel(place) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise ExecutionError(
                f"what answers at {address} is not Ray",
                hint="HOST:PORT is the head node's port, 6379 by default; ray://HOST:PORT its client port, 10001",
            ) from error


def _host_and_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT or ray://HOST:PORT.

    Raises:
        RecipeError: the address is neither.
    """
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.scheme in ("", "ray") and parts.hostname and parts.port and not (parts.path or parts.query):
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise RecipeError(f"{address!r} is no address of a Ray cluster", hint=_ADDRESSES)
