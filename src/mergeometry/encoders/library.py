"""The transformers library: imported only where it is needed, and kept quiet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mergeometry.errors import DataError
from mergeometry.words import install_extra


def import_transformers() -> Any:
    """Import transformers, which runs every encoder.

    Raises:
        DataError: transformers is not installed.
    """
    try:
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise DataError("running a model needs transformers", hint=install_extra("adapt")) from error
    return transformers


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence its progress bars, and its warnings about weights that are not run."""
    logging: Any = import_transformers().utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
