"""Asks the hub, by its own library: what a repository holds, some bytes of a file, a whole file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mergeometry.conventions.hub_cache import hub_cache
from mergeometry.errors import MergeometryError, SourceError
from mergeometry.hub_names import HubReference
from mergeometry.sources.hub.repository import HubFile, HubModel, hub_model

_ATTEMPTS = 5
_FIRST_WAIT = 1.0
_TIMEOUT = 30
_BUSY = (408, 429, 500, 502, 503, 504)
_LOGIN = "log in by `hf auth login`, or set HF_TOKEN"

T = TypeVar("T")


def library(reference: HubReference) -> Any:
    """The hub's own library.

    Raises:
        SourceError: it is not installed.
    """
    try:
        import huggingface_hub  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise SourceError(
            "there is no such folder here, and models of the hub need huggingface_hub",
            file=str(reference),
            hint="pip install 'mergeometry[hub]'; or give a local folder or .safetensors file",
        ) from error
    return huggingface_hub


def endpoint() -> str | None:
    """The hub's address where the environment gives one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def find_model(reference: HubReference) -> HubModel:
    """Find the commit that a reference means today, and what files it has.

    Raises:
        SourceError: there is no such repository, revision or folder, it is gated or private, or the hub is not reached.
    """
    hub = library(reference)
    api = hub.HfApi(endpoint=endpoint(), library_name="mergeometry")
    info = asked(
        reference,
        lambda: api.model_info(
            reference.repository, revision=reference.revision, files_metadata=True, timeout=_TIMEOUT
        ),
    )
    listed = {
        file.rfilename: HubFile(-1 if file.size is None else file.size, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings or ()
    }
    return hub_model(reference, info.id, info.sha, listed)


def first_bytes(model: HubModel, name: str, last: int, first: int = 0) -> bytes:
    """Bytes ``first`` to ``last`` (exclusive) of a file, fetched by a range request.

    Raises:
        SourceError: the hub is not reached, refuses, or sends fewer bytes.
    """
    hub = library(model.reference)
    url = hub.hf_hub_url(model.repository, model.place + name, revision=model.commit, endpoint=endpoint())

    def request() -> bytes:
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # noqa: PLC0415

        headers = {**build_hf_headers(library_name="mergeometry"), "Range": f"bytes={first}-{last - 1}"}
        headers["Accept-Encoding"] = "identity"
        with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            # A server that ignores ranges sends the file from its start: take what is wanted, and hang up.
            skipped = first if response.status_code == 200 else 0
            received = bytearray()
            for piece in response.iter_bytes(1 << 16):
                received += piece
                if len(received) >= skipped + last - first:
                    break
            return bytes(received[skipped : skipped + last - first])

    received = asked(model.reference, request)
    if len(received) != last - first:
        raise SourceError(
            f"the hub sent {len(received):,} bytes of {name!r} where {last - first:,} were asked for",
            file=str(model.reference),
            hint="run again",
        )
    return received


def download(model: HubModel, name: str, bar: type[Any] | None = None) -> Path:
    """Fetch a whole file into the hub's cache, unless it is there, and return its place in the snapshot.

    Raises:
        SourceError: the hub is not reached or refuses.
    """
    hub = library(model.reference)
    return Path(
        asked(
            model.reference,
            lambda: hub.hf_hub_download(
                model.repository, model.place + name, revision=model.commit, cache_dir=hub_cache(),
                endpoint=endpoint(), library_name="mergeometry", tqdm_class=bar or silent_bar(hub),
            ),
        )
    )  # fmt: skip


def silent_bar(hub: Any) -> type[Any]:
    """A progress bar that shows nothing."""

    class Silent(hub.utils.tqdm):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **{**options, "disable": True})

    return Silent


def asked(reference: HubReference, request: Callable[[], T]) -> T:
    """What a request answers, tried again where the hub is busy or the line breaks.

    Raises:
        SourceError: why the hub has no answer, in words that hold no token.
    """
    errors = library(reference).errors
    for attempt in range(_ATTEMPTS):
        try:
            return request()
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status not in _BUSY or attempt == _ATTEMPTS - 1:
                raise _refusal(reference, errors, error, status) from error
        except errors.LocalEntryNotFoundError as error:
            # The library has tried several times itself.
            cause = error.__cause__ or error
            if isinstance(cause, errors.HfHubHTTPError):
                raise _refusal(reference, errors, cause, cause.response.status_code) from error
            raise _unreachable(reference, cause) from error
        except errors.OfflineModeIsEnabled as error:
            raise _unreachable(reference, error) from error
        except errors.HFValidationError as error:
            raise SourceError("the hub has no such names", file=str(reference), hint="write owner/name") from error
        except MergeometryError:
            raise
        except (errors.HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
                raise  # of the disk
            if attempt == _ATTEMPTS - 1:
                raise _unreachable(reference, error) from error
        time.sleep(_FIRST_WAIT * 2**attempt)
    raise AssertionError


def _refusal(reference: HubReference, errors: Any, error: Exception, status: int) -> SourceError:
    if isinstance(error, errors.GatedRepoError):
        return SourceError(
            "the model is gated, and this account may not read it",
            file=str(reference),
            hint=f"accept its terms on its page, then {_LOGIN}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceError(
            f"the repository has no revision {reference.revision!r}",
            file=str(reference),
            hint="give a branch, a tag or a commit of it, as owner/name@revision",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return SourceError(
            "there is no such folder here, and no such model on the hub that this account may see",
            file=str(reference),
            hint=f"check the name; for a private model {_LOGIN}",
        )
    if isinstance(error, errors.DisabledRepoError):
        return SourceError("the hub has disabled the repository", file=str(reference))
    if status in (401, 403):
        return SourceError(f"the hub refuses access (status {status})", file=str(reference), hint=_LOGIN)
    return SourceError(f"the hub answers with status {status}", file=str(reference), hint="run again later")


def _unreachable(reference: HubReference, error: BaseException) -> SourceError:
    return SourceError(
        f"the hub is not reached ({type(error).__name__})",
        file=str(reference),
        hint="check the network and HF_ENDPOINT; --offline takes what the hub's cache holds",
    )
