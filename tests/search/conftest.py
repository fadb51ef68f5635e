"""Models and labelled tasks that searches try."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import learning_models
from tests.helpers.labelled_tasks import written


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    return written(folder, learning_models.family(folder))
