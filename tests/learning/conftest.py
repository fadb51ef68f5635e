"""Tiny families that the tests of this room learn on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import learning_models
from tests.helpers.learning_recipes import COUNT
from tests.helpers.learning_runs import CLASSES


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("family"), CLASSES)


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("tuned"), CLASSES, COUNT)


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("adapters"), CLASSES, COUNT, adapters=True)
