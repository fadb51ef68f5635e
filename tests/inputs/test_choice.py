"""A limit takes items evenly spread."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mergeometry.inputs import read_unlabelled
from mergeometry.recipe.inputs import AdaptTask, DataSource
from tests.helpers.text_files import texts, written


def test_a_limit_takes_texts_from_everywhere(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "".join(f"text {number}\n" for number in range(10)))
    assert texts(path, limit=3) == ("text 0", "text 3", "text 6")
    assert len(texts(path, limit=10)) == len(texts(path, limit=99)) == 10
    found = read_unlabelled(AdaptTask(name="trec", data=DataSource(path=str(path), limit=4)), "texts")
    assert found.notes == ("4 of 10 are used, evenly spread",)


@given(count=st.integers(1, 200), limit=st.integers(1, 250))
def test_a_spread_has_its_size_and_no_gap_twice_another(count: int, limit: int) -> None:
    from mergeometry.inputs.choice import spread

    chosen = spread(range(count), limit)
    assert len(chosen) == min(count, limit) and sorted(set(chosen)) == list(chosen)
    steps = {right - left for left, right in itertools.pairwise(chosen)}
    assert not steps or max(steps) - min(steps) <= 1
