"""What the others gain without each model: the same figures as two comparisons side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.comparison.result import Comparison
from mergeometry.errors import RecipeError
from mergeometry.report.left_out import left_out_sentences
from tests.helpers import learning_models
from tests.helpers.labelled_tasks import written

pytestmark = pytest.mark.suite  # trains three tiny models, and compares five times

SCALES = [0.4, 1.0]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    return written(folder, learning_models.family(folder))


def compared(family: Path, output: Path, **options: Any) -> Comparison:
    given: dict[str, Any] = {"scales": SCALES, "workers": 1, "output": output, **options}
    return mg.compare(family / "recipe.yaml", "average", family / "tasks.yaml", **given)


def test_the_gain_is_the_difference_of_two_comparisons(family: Path, tmp_path: Path) -> None:
    found = compared(family, tmp_path / "all", leave_one_out=True)
    assert [one.model for one in found.left_out] == list(found.seen)
    name = found.seen[0]
    without = compared(family, tmp_path / "without", leave_out=[name])
    (own,) = (one for one in found.left_out if one.model == name)
    (row,), (other,) = found.rows, without.rows
    expected = [other.at_best.tasks[task] - row.at_best.tasks[task] for task in without.seen]
    assert own.gain == pytest.approx(sum(expected) / len(expected), abs=1e-12)
    assert (own.scale, own.scale_without) == (row.best_scale, other.best_scale)
    assert own.spread >= 0 and own.method == "average"
    assert found.to_json()["left_out"][0]["model"] == name
    # The folder holds the scores of every smaller merge, and another run takes it for its own.
    again = compared(family, tmp_path / "all", leave_one_out=True)
    assert again.left_out == found.left_out
    assert next(iter(left_out_sentences(found))).startswith("Without ")


def test_one_scored_model_leaves_nothing_to_compare(family: Path, tmp_path: Path) -> None:
    found = compared(family, tmp_path / "plain")
    assert found.left_out == () and list(left_out_sentences(found)) == []
    with pytest.raises(RecipeError, match="at least two scored models"):
        compared(family, tmp_path / "one", leave_out=list(found.seen[1:]), leave_one_out=True)
