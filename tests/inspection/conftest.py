"""A base and two real fine-tunes of it, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.fine_tunes import write_fine_tunes


@pytest.fixture(scope="session")
def fine_tunes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    return write_fine_tunes(tmp_path_factory.mktemp("fine-tunes"), 2)
