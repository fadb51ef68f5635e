"""Constants that a study wrote, and the words made of them: advice where the boards have such models, else none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import mergeometry as mg
from benchmarks.studies.calibration.measure import figures_at
from mergeometry.inspection import prediction
from mergeometry.inspection.advice import advice_in_words
from mergeometry.inspection.losses import figures_of_model, losses_in_words
from mergeometry.inspection.prediction import kept_by, kept_by_auto, loss_of, predicts
from mergeometry.inspection.result import Inspection, Model
from mergeometry.plan.choice_of_method import FITTED
from mergeometry.plan.prepared import prepared_plan
from mergeometry.recipe import load_recipe
from mergeometry.report.definitions import AFTER, BEFORE, not_shown_to_predict, shown_to_predict
from mergeometry.sources.access import Access
from tests.helpers import models
from tests.helpers.inspections import drawn

KEPT = {"iso_c": {"at_one": [0.8, 0.95], "at_best": [0.9, 0.96]}, "ties": {"at_one": [0.4, 0.4], "at_best": [0.7, 0.8]}}
MODEL = {"figures": ["relative_norm", "squared: share_held"], "centre": [0.1, 0.5], "size": [0.2, 2.0],
         "weights": [0.4, -0.2], "intercept": 0.3, "below": -0.5, "above": 1.0, "least": 0.05}  # fmt: skip
CONSTANTS = {
    "model": None,
    "figures": {"accumulated": [{"level": "merges", "rho": 0.9, "low": 0.8, "high": 0.95}]},
    "kinds": {"checkpoint": KEPT},
    "auto": {"full": {"low": 0.8, "high": 0.951, "boards": 3, "fewest_tasks": 6, "most_tasks": 14}},
}  # fmt: skip


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "_constants", lambda: CONSTANTS)


def words(inspection: Inspection) -> list[str]:
    return [sentence.text for sentence in advice_in_words(inspection)]


def merged_by(method: str, kind: str = "checkpoint") -> Inspection:
    own = drawn(["first", "second"])
    models = tuple(replace(model, kind=kind) for model in own.models)
    return replace(own, recipe={"method": {"name": method}}, models=models)


@pytest.mark.usefixtures("constants")
def test_the_advice_is_the_choice_of_auto_and_what_it_kept() -> None:
    (text,) = words(merged_by("ties"))
    assert text.startswith("`method: auto` takes `own_blocks` at `scale: 1` for these models: it lost least")
    assert "On 3 boards of full fine-tunes (6 to 14 tasks each) that kept 80 to 95 % of the experts' scores." in text
    assert "`ties` at scale 1 kept 40 %." in text and "not an estimate" in text
    (text,) = words(merged_by("own_blocks"))
    assert "`own_blocks` at scale 1 kept" not in text
    (text,) = words(replace(merged_by("ties"), folded=16, model_kind="text"))
    assert "the models' updates are of low rank" in text and "boards of adapters of text models" in text
    (text,) = words(merged_by("unheard_of"))
    assert "unheard_of" not in text


@pytest.mark.usefixtures("constants")
def test_no_experience_without_boards_of_such_models() -> None:
    (text,) = words(merged_by("ties", "adapter"))
    assert "`own_blocks` at `scale: 0.5`" in text and "experience" not in text
    mixed = merged_by("ties")
    mixed = replace(mixed, models=(mixed.models[0], replace(mixed.models[1], kind="adapter")))
    (text,) = words(mixed)
    assert "takes" in text and "experience" not in text
    assert words(replace(mixed, models=mixed.models[:1])) == []
    assert words(replace(mixed, output=Model("merged", "merged", "checkpoint"))) == []  # it is merged already
    alike = merged_by("ties")
    near = tuple(replace(one, cosine=tuple(0.9 for _ in one.cosine)) for one in alike.tensors)
    (text,) = words(replace(alike, tensors=near))
    assert text.startswith("`method: auto` takes `average` at `scale: 1`") and "experience" not in text


def test_inspect_and_auto_name_the_same_method(tmp_path: Path) -> None:
    tensors = models.random_tensors(0)
    base = models.write_model(tmp_path / "base", tensors)
    for seeds in ((1, 2), (1, 1)):
        folders = [tmp_path / f"{seed}-{place}" for place, seed in enumerate(seeds)]
        tuned = [
            models.write_model(folder, models.tuned(tensors, seed)) for folder, seed in zip(folders, seeds, strict=True)
        ]
        recipe = {"base": str(base), "models": list(map(str, tuned))}
        (advice,) = advice_in_words(mg.inspect({**recipe, "method": "ties"}, workers=1))
        chosen = prepared_plan(load_recipe({**recipe, "method": "auto"}), Access()).recipe
        assert f"`method: auto` takes `{chosen.method.name}` at `scale: 1`" in advice.text


def test_a_loss_follows_the_constants_and_is_bounded_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "_constants", lambda: {**CONSTANTS, "model": MODEL})
    nats = 0.3 + 0.4 * (0.3 - 0.1) / 0.2 - 0.2 * (0.5**2 - 0.5) / 2
    loss = loss_of({"relative_norm": 0.3, "share_held": 0.5})
    assert loss is not None
    expected = [1 - math.exp(-nats * times) for times in (0.5, 1.0, 2.0)]
    assert [loss.low, loss.middle, loss.high] == pytest.approx(expected)
    assert loss_of({"relative_norm": 0.3}) is None
    least = loss_of({"relative_norm": -5.0, "share_held": 0.5})
    assert least is not None and least.middle == pytest.approx(1 - math.exp(-0.05))
    merge = drawn(["first", "second"], after=True)
    (sentence,) = losses_in_words(merge)
    assert "first" in sentence.text and "90 %" in sentence.text
    assert list(losses_in_words(drawn(["first", "second"]))) == []  # nothing is merged yet
    monkeypatch.setattr(prediction, "_constants", lambda: CONSTANTS)
    assert list(losses_in_words(merge)) == []  # no model held on what it never saw


def test_a_models_figures_are_those_of_the_study() -> None:
    merge = drawn(["first", "second"], after=True)
    for index in range(2):
        terms = [(one.norm[index], one.base_norm, one.merged) for one in merge.tensors]
        norm, base = (sum(term[place] ** 2 for term in terms) for place in (0, 1))
        along = sum(own.share_held[index] * size**2 for size, _, own in terms if own)
        sums = {"norm": norm, "base": base, "along": along, "merged": sum(own.norm**2 for *_, own in terms if own)}
        found, study = figures_of_model(merge, index), figures_at(sums, 1.0)
        for name in ("share_held", "distance", "distance_of_base", "foreign", "relative_norm"):
            assert found[name] == pytest.approx(study[name])


@pytest.mark.usefixtures("constants")
def test_definitions_are_parted_by_what_was_shown() -> None:
    shown, others = dict(shown_to_predict(after=True)), dict(not_shown_to_predict(after=True))
    assert list(shown) == ["Over-accumulation"] and "rank correlation 0.90" in shown["Over-accumulation"]
    assert [*shown, *others] != list(others) and {*shown, *others} == {name for name, _ in (*BEFORE, *AFTER)}
    assert not list(shown_to_predict(after=False))


def test_the_constants_that_ship_are_whole() -> None:
    for group in FITTED:
        auto = kept_by_auto(group)
        assert auto is not None and 0 < auto.low <= auto.high <= 1.05 and auto.boards > 1
    for kind in ("checkpoint", "adapter"):
        kept = kept_by(kind, "own_blocks", validated=True)
        assert kept is not None and kept[0] <= kept[1]
    assert all(
        -1 <= one.low <= one.rho <= one.high <= 1 for figure in ("distance_of_base",) for one in predicts(figure)
    )
