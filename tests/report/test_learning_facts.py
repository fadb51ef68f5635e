"""What the page of a merge says of learning."""

from __future__ import annotations

from mergeometry.report.run_facts import learning_facts


def test_the_agreement_with_each_expert_is_shown_before_and_as_kept() -> None:
    adapt = {"objective": "distill", "agreement": {"a": {"start": 0.875, "kept": 1.0}, "b": {"start": None}}}
    lines = dict(learning_facts({"adapt": adapt}))
    assert lines["Agreement with the experts"] == (
        "a: 87.5 % before, 100.0 % as kept, b: unknown before, unknown as kept"
    )
    assert "Agreement with the experts" not in dict(learning_facts({"adapt": {"objective": "mda"}}))
