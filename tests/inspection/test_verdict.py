"""The sentences: each is said where it holds, and of real fine-tunes none of the warnings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mergeometry as mg
from mergeometry.inspection.result import Inspection
from mergeometry.inspection.run import inspect_plan
from mergeometry.inspection.verdict import verdict_on
from tests.helpers import models
from tests.helpers.inspections import drawn
from tests.helpers.tiny import tiny

FineTunes = tuple[Path, list[Path]]


def inspected(base: Path, tuned: list[Path]) -> Inspection:
    return inspect_plan(mg.make_plan(base=base, models=tuned, method="tsv_m"), workers=1)


def said(inspection: Inspection, words: str) -> list[str]:
    return [one.level for one in inspection.verdict if words in one.text]


def test_real_fine_tunes_have_no_warning_sign(fine_tunes: FineTunes) -> None:
    found = inspected(*fine_tunes)
    assert said(found, "no warning sign") == ["note"]
    assert {one.level for one in found.verdict} == {"note"}
    assert all(own.base_alignment > 0.9 for own in found.totals.models)
    assert found.totals.pairs[0].cosine < 0.9


def test_a_model_of_another_base_is_recognised(fine_tunes: FineTunes, tmp_path: Path) -> None:
    base, tuned = fine_tunes
    tiny("bert", 7).save_pretrained(tmp_path / "other")
    found = inspected(base, [*tuned, tmp_path / "other"])
    assert said(found, "other is not a fine-tune of this base") == ["warning"]
    assert abs(found.totals.models[-1].base_alignment) < 0.1
    assert not said(found, "task0 is not") and not said(found, "no warning sign")
    assert not said(found, "method: auto"), "nothing is advised for models that do not belong together"


def test_layers_from_elsewhere_are_counted(fine_tunes: FineTunes, tmp_path: Path) -> None:
    base, tuned = fine_tunes
    tensors, name = load_file(tuned[0] / "model.safetensors"), "bert.encoder.layer.1.output.dense.weight"
    tensors[name] = tensors[name][torch.randperm(32, generator=torch.Generator().manual_seed(0))]
    models.write_model(tmp_path / "patched", tensors)
    found = inspected(base, [tuned[1], tmp_path / "patched"])
    assert said(found, "patched has 1 of") == ["attention"]


def test_copies_and_models_that_did_not_move(fine_tunes: FineTunes, tmp_path: Path) -> None:
    base, tuned = fine_tunes
    tensors, origin = (load_file(place / "model.safetensors") for place in (tuned[0], base))
    longer = {name: 1.05 * tensor - 0.05 * origin[name] for name, tensor in tensors.items()}
    models.write_model(tmp_path / "copy", longer)
    models.write_model(tmp_path / "still", origin)
    found = inspected(base, [tuned[0], tmp_path / "copy", tmp_path / "still"])
    assert said(found, "task0 and copy are nearly copies (cosine 1.000)") == ["attention"]
    assert said(found, "still equals the base") == ["attention"]
    assert not said(found, "task0 and still")


def test_models_that_move_against_each_other_and_one_that_dominates(fine_tunes: FineTunes, tmp_path: Path) -> None:
    base, tuned = fine_tunes
    one, other, origin = (load_file(place / "model.safetensors") for place in (*tuned, base))
    models.write_model(tmp_path / "back", {name: 2 * origin[name] - tensor for name, tensor in one.items()})
    models.write_model(tmp_path / "far", {name: 5 * tensor - 4 * origin[name] for name, tensor in other.items()})
    found = inspected(base, [tuned[0], tmp_path / "back", tmp_path / "far"])
    assert said(found, "task0 and back move against each other (cosine -1.00)") == ["attention"]
    assert said(found, "far moved") == ["attention"]


def test_an_adapter_says_nothing_about_its_base(tmp_path: Path) -> None:
    tensors = models.random_tensors(0, shapes={"encoder.layer.0.q.weight": (12, 8)})
    base = models.write_model(tmp_path / "base", tensors)
    factors = models.random_factors(1, {"encoder.layer.0.q": (12, 8)})
    adapter = models.write_adapter(
        tmp_path / "adapter", {name: (down, 100 * up) for name, (down, up) in factors.items()}
    )
    assert not said(inspected(base, [adapter]), "base's, and fine-tunes")


@pytest.mark.parametrize("count", [1, 2])
def test_what_needs_two_models_is_not_said_of_one(fine_tunes: FineTunes, count: int) -> None:
    base, tuned = fine_tunes
    found = inspected(base, tuned[:count])
    assert len(said(found, "outvote")) == count - 1
    assert len(said(found, "Most of the change")) == 1


def test_of_many_pairs_alike_the_first_are_named_and_the_others_counted() -> None:
    made = drawn([f"{place} {'x' * 1000}" for place in range(30)], tensors=2)
    pairs = tuple(replace(pair, cosine=0.999) for pair in made.totals.pairs)
    found = verdict_on(replace(made, totals=replace(made.totals, pairs=pairs)))
    assert sum("a sum counts what they learned twice" in one.text for one in found) == 5
    assert [one.level for one in found if "430 more pairs are nearly copies" in one.text] == ["attention"]
    assert max(len(one.text) for one in found) < 400, "a sentence holds names in brief"
