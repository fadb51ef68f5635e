"""Merges by every route stay within a tenth of the plan's estimate, which is not more than twice what they take."""

from __future__ import annotations

import pytest

from benchmarks.studies.memory_estimates import CASES, TOLERANCE, Case, measured

SOME = ("row by row", "experts", "to an adapter", "copied", "workers: ties")


def _case(case: Case) -> object:
    in_suite = any(part in case.name for part in SOME)
    return pytest.param(case, id=case.name, marks=pytest.mark.suite if in_suite else pytest.mark.slow)


@pytest.mark.parametrize("case", [_case(case) for case in CASES])
def test_a_merge_stays_within_its_estimate(case: Case) -> None:
    row = measured(case, 1024 if "workers" not in case.name else 512)
    assert row["peak_bytes"] <= TOLERANCE * row["estimate_bytes"] <= TOLERANCE * 2 * row["peak_bytes"]
