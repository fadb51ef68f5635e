"""Rules for the scale in comparisons: scored at exactly their scales, on the draws of everything else, resumable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.result import Comparison
from mergeometry.comparison.rules import read_rules, ruled
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.errors import RecipeError
from mergeometry.recipe.scale import ScaleRule
from mergeometry.report.comparison import comparison_markdown
from mergeometry.report.comparison_page import comparison_page
from mergeometry.report.regret import KINDS
from mergeometry.scaling import RULES, Statistics
from tests.helpers import learning_models
from tests.helpers.labelled_tasks import written

METHODS = "ties(density=0.3), tsv_m, task_arithmetic"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    return written(folder, learning_models.family(folder))


def compared(family: Path, output: Path, methods: Any = METHODS, **options: Any) -> Comparison:
    given: dict[str, Any] = {"scales": [0.4, 1.0], "rules": "all", "workers": 1, **options}
    return mg.compare(family / "recipe.yaml", methods, family / "tasks.yaml", output=output, **given)


@pytest.fixture(scope="module")
def found(family: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    output = tmp_path_factory.mktemp("found")
    return output, compared(family, output)


def bare(found: Comparison) -> Comparison:
    rows = tuple(replace(row, seconds=0.0) for row in found.rows)
    return replace(found, rows=rows, seconds=0.0, peak_memory=0)


@pytest.mark.parametrize("rule", ["own_share per model", "norm_mean per tensor", "projection per tensor"])
def test_a_figure_is_that_of_a_merge_by_that_rule(
    family: Path, found: tuple[Path, Comparison], tmp_path: Path, rule: str
) -> None:
    for row in found[1].rows:
        figures = row.rules[rule]
        name, _, per = rule.split()
        given = {**json.loads((family / "recipe.yaml").read_text()), "method": row.method}
        run = mg.merge({**given, "scale": {"rule": name, "per": per}}, tmp_path / "out", workers=1, overwrite=True)
        assert run.scaling is not None
        assert figures.scale == pytest.approx(run.scaling["median"], rel=1e-4)
        assert (figures.least, figures.largest) == pytest.approx(
            (run.scaling["least"], run.scaling["largest"]), rel=1e-3, abs=1e-3
        )
        tasks = evaluate(tmp_path / "out", load_tasks(family / "tasks.yaml")).tasks
        mean = sum(tasks.values()) / len(tasks)
        assert figures.mean == pytest.approx(mean, abs=0.021)  # one text at the edge may fall to the other side
        assert figures.regret == pytest.approx(row.at_best.mean - figures.mean)


def test_scale_one_and_the_average_are_what_they_were(found: tuple[Path, Comparison]) -> None:
    for row in found[1].rows:
        assert row.rules["one"].mean == row.at_one.mean and row.rules["one"].regret == row.regret_at_one
        assert set(row.rules) == set(found[1].rules) and len(row.rules) == 2 * len(RULES) - 1
        assert row.rules["norm_sqrt per model"].scale == pytest.approx(3**0.5 * row.rules["norm_mean per model"].scale)
    (sums,) = [row for row in found[1].rows if row.name == "task_arithmetic"]
    assert sums.rules["projection per model"].scale == pytest.approx(1 / 3)


@pytest.mark.suite
def test_it_goes_on_with_what_is_known(family: Path, found: tuple[Path, Comparison], tmp_path: Path) -> None:
    output, whole = found
    silent: list[str] = []
    again = compared(family, output, say=lambda text, *_: silent.append(text))
    assert silent == [] and bare(again) == bare(whole)
    without = compared(family, tmp_path, rules=())
    assert without.rules == () and all(row.rules == {} for row in without.rows)
    scored: list[str] = []
    later = compared(family, tmp_path, say=lambda text, *_: scored.append(text))
    assert bare(later) == bare(whole)
    assert not any("validation" in text for text in scored) and any("scales by a rule" in text for text in scored)
    # Rules that agree to three digits share one score, as `projection` on a sum of task vectors does with itself.
    points = [text for text in scored if text.startswith("task_arithmetic at")]
    assert len(points) < len(whole.rules)


def test_a_fixed_tensor_is_left_alone(family: Path, tmp_path: Path) -> None:
    recipe = {**json.loads((family / "recipe.yaml").read_text()), "tensors": [{"match": "*layer.0*", "scale": 0.25}]}
    found = mg.compare(recipe, "ties", family / "tasks.yaml", output=tmp_path, scales=[1.0], workers=1,
                       rules=["norm_mean"])  # fmt: skip
    run = mg.merge(
        {**recipe, "method": "ties", "scale": {"rule": "norm_mean", "per": "tensor"}}, tmp_path / "out", workers=1
    )
    figures = found.rows[0].rules["norm_mean per tensor"]
    own = [tensor.scale for tensor in run.tensors if tensor.scale is not None and "layer.0" not in tensor.name]
    assert figures.least == pytest.approx(min(own), rel=1e-4) and figures.largest == pytest.approx(max(own), rel=1e-4)


def test_a_recipe_that_scales_itself_is_compared_all_the_same(family: Path, tmp_path: Path) -> None:
    recipe = {**json.loads((family / "recipe.yaml").read_text()), "scale": "auto"}
    given = {"output": tmp_path, "scales": [0.4, 1.0], "workers": 1}
    auto, plain = (
        mg.compare(one, "tsv_m", family / "tasks.yaml", **given) for one in (recipe, {**recipe, "scale": 1.0})
    )
    assert bare(auto) == bare(plain)


def test_table_and_page_show_the_regret(found: tuple[Path, Comparison]) -> None:
    comparison = found[1]
    table, page = comparison_markdown(comparison), comparison_page(comparison, "1").replace("<wbr>", "")
    for rule in comparison.rules:
        # On the page the title of a table says what its rules are per.
        name, _, per = rule.partition(" per ")
        assert rule in table and f">{name}</th>" in page and dict(KINDS).get(per, "") in page
    for rule in ("norm_mean per model", "own_share per tensor"):
        regrets = [row.rules[rule].regret for row in comparison.rows]
        known = [regret for regret in regrets if regret is not None]
        (head,) = [line for line in table.splitlines() if rule in line and line.startswith("| method")]
        lines = table[table.index(head) :].splitlines()
        column = [cell.strip() for cell in head.split("|")].index(rule)
        cells = [lines[2 + place].split("|")[column].strip() for place in range(len(regrets) + 2)]
        assert [cell.split(" ")[0] for cell in cells[:-2]] == [f"{100 * regret:.1f}" for regret in known]
        assert cells[-2:] == [f"{100 * sum(known) / len(known):.1f}", f"{100 * max(known):.1f}"]
    bald = comparison_markdown(replace(comparison, rules=(), rows=tuple(replace(r, rules={}) for r in comparison.rows)))
    assert "label" not in bald


def test_rules_as_users_write_them() -> None:
    assert [rule.text for rule in read_rules("one, norm_sqrt(factor=0.5), projection(per=model)")] == [
        "one", "0.5 x norm_sqrt per model", "0.5 x norm_sqrt per tensor", "projection per model",
    ]  # fmt: skip
    assert read_rules([{"rule": "own_share", "per": "tensor"}]) == (ScaleRule(rule="own_share", per="tensor"),)
    assert len(read_rules("all")) == 2 * len(RULES) - 1 and read_rules("") == ()
    with pytest.raises(RecipeError, match=r"(?s)did you mean 'projection'.*unknown key 'pre'.*given twice"):
        read_rules("projektion, one, one, norm_mean(pre=model)")
    for auto in ("auto", [{"rule": "auto", "per": "model"}]):
        with pytest.raises(RecipeError, match="a different rule for each method"):
            read_rules(auto)


def test_scales_that_are_alike_share_a_score() -> None:
    def statistics(merged: float) -> Statistics:
        return Statistics((2.0, 2.0), (2.0, 2.0), merged)

    measured = {"a": (True, statistics(4.0)), "b": (True, statistics(4.0002))}
    rules = read_rules("projection, own_share(per=tensor), own_share(factor=1.00001, per=tensor)")
    found = ruled(rules, measured, (1.0, 0.5))
    assert [one.at for one in found[:2]] == [0.5, 0.5]  # one scale for both tensors, and the one that is known
    assert found[0].scales == (pytest.approx(0.5, rel=1e-3),)
    assert found[2].at == found[3].at == 1.0
    measured["b"] = (True, Statistics((-2.0, 1.0), (2.0, 2.0), 4.0))
    found = ruled(rules, measured, (1.0,))
    assert found[2].at == {"a": 1.0, "b": 1.0} and found[2].without == 1
    broken = {"b": (True, Statistics((-2.0, 1.0), (2.0, 2.0), 4.0))}
    assert ruled(read_rules("own_share(per=model)"), broken, (1.0,))[0].problem
