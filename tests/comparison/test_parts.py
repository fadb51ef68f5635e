"""The parts of a comparison that need no model: what users write, labels, figures, and pages."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from mergeometry import limits
from mergeometry.comparison.entries import read_entries
from mergeometry.comparison.figures import Ends, figures_of
from mergeometry.comparison.gain import resampled_differences
from mergeometry.comparison.scales import DEFAULT, nearest_to_one, read_scales
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.errors import DataError, RecipeError
from mergeometry.inputs.labels import read_labelled
from mergeometry.plan.choice import other_of
from mergeometry.recipe import load_recipe
from mergeometry.recipe.inputs import DataSource
from mergeometry.report.comparison import comparison_markdown
from mergeometry.report.comparison_page import comparison_page
from mergeometry.report.curves import curves_svg
from tests.helpers.comparisons import comparison, ends
from tests.helpers.markdown import figures, table_rows

HOSTILE = "</text><script>alert(1)</script>|`\x1b[31m\u202e"


def test_scales_are_read_as_grids_and_lists() -> None:
    assert read_scales(None) == DEFAULT
    assert len(read_scales("0.1:3.0:0.1")) == 30
    assert read_scales("0.1:0.3:0.1") == (0.1, 0.2, 0.3, 1.0)
    assert read_scales("2, 0.5") == read_scales([0.5, 2]) == (0.5, 1.0, 2.0)


@pytest.mark.parametrize("given", ["", "a", "1:2", "3:1:1", "1:2:0", "-1", "0", "nan", "1:inf:1", "0.001:3:0.001"])
def test_scales_that_cannot_be_meant_are_refused(given: str) -> None:
    if given == "":
        assert read_scales(given) == (1.0,)
    else:
        with pytest.raises(RecipeError):
            read_scales(given)


def test_validation_chooses_the_best_and_among_equals_the_nearest_to_one() -> None:
    assert nearest_to_one((0.1, 0.5, 1.0, 2.0), (0.9, 0.8, 0.7, 0.6)) == 0.1
    assert nearest_to_one((0.1, 0.5, 1.25, 2.0), (0.8, 0.9, 0.9, 0.9)) == 1.25


def test_entries_are_names_calls_and_mappings() -> None:
    entries, everything = read_entries("tsv_m, ties(density=0.1) ,dc_merge(smoothing=linear, rho=3)")
    assert not everything
    assert [(entry.name, dict(entry.method)) for entry in entries] == [
        ("tsv_m", {"name": "tsv_m"}),
        ("ties(density=0.1)", {"name": "ties", "density": 0.1}),
        ("dc_merge(smoothing=linear, rho=3)", {"name": "dc_merge", "smoothing": "linear", "rho": 3}),
    ]
    (refined,), _ = read_entries("tsv_m + svc(gamma=2)")
    assert refined.name == "tsv_m + svc(gamma=2)" and refined.refine == [{"name": "svc", "gamma": 2}]
    (mine,), _ = read_entries([{"name": "mine", "method": {"name": "ties", "density": 0.3}, "refine": "svc"}])
    assert (mine.name, mine.method["density"], mine.refine) == ("mine", 0.3, ["svc"])


def test_a_row_may_have_another_way_with_tables() -> None:
    common = load_recipe({"base": "b", "models": ["m"], "method": "tsv_m", "other": "ties"})
    own, usual = (read_entries([item])[0][0].recipe(common, 1.0) for item in (
        {"method": "iso_c", "other": {"name": "rows"}}, "iso_c",
    ))  # fmt: skip
    assert (other_of(own).name, other_of(usual).name) == ("rows", "ties")
    alone = load_recipe({"base": "b", "models": ["m"], "method": "own_blocks"})
    assert other_of(alone).name == "rows"
    assert other_of(load_recipe({**alone.canonical(), "other": "average"})).name == "average"
    assert other_of(load_recipe({"base": "b", "models": ["m"], "method": "dc_merge"})).name == "average"


def test_all_is_every_method_without_data() -> None:
    entries, everything = read_entries("all")
    assert everything
    assert "adamerging" not in {entry.name for entry in entries}
    assert {"average", "tsv_m", "dc_merge"} <= {entry.name for entry in entries}


def test_every_unusable_entry_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_entries("tsvm, ties(densty=0.1), average, average, iso_c(")
    said = str(caught.value)
    assert "did you mean 'tsv_m'" in said and "did you mean 'density'" in said
    assert "two entries are named 'average'" in said and "'iso_c(' is not a method" in said
    (tmp_path / "methods.yaml").write_text("- {name: x, methd: ties}\n")
    with pytest.raises(RecipeError, match="did you mean 'method'"):
        read_entries(str(tmp_path / "methods.yaml"))


def test_tasks_refuse_unknown_keys_and_resolve_paths(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(
        "tasks:\n  - {name: a, head: h.safetensors, test: {path: d.jsonl, limit: 3}}\n"
    )
    (task,) = load_tasks(tmp_path / "tasks.yaml").tasks
    assert task.head is not None and task.head.path == str(tmp_path / "h.safetensors")
    assert (task.test.path, task.test.limit, task.validation) == (str(tmp_path / "d.jsonl"), 3, None)
    (tmp_path / "wrong.yaml").write_text("tasks:\n  - {name: a, test: {path: x, colum: t}, vlidation: y}\nencodr: {}\n")
    with pytest.raises(RecipeError) as caught:
        load_tasks(tmp_path / "wrong.yaml")
    for guess in ("'column'", "'validation'", "'encoder'"):
        assert f"did you mean {guess}" in str(caught.value)


def labelled(path: Path, classes: list[str] | None = None, **keys: Any) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    found = read_labelled(DataSource(path=str(path), **keys), None, "texts", "task", 3, classes)
    return found.items, found.labels


def write(folder: Path, ending: str, labels: list[Any]) -> Path:
    path, texts = folder / f"data{ending}", ["one", "two", " ", "four"]
    if ending == ".jsonl":
        rows = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
        path.write_text("\n".join(rows))
    elif ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.table({"text": texts, "label": labels}), path)
    else:
        mark = "," if ending == ".csv" else "\t"
        path.write_text(f"text{mark}label\n" + "".join(f'"{t}"{mark}{n}\n' for t, n in zip(texts, labels, strict=True)))
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_labels_stay_beside_their_texts(tmp_path: Path, ending: str) -> None:
    assert labelled(write(tmp_path, ending, [2, 0, 1, 1])) == (("one", "two", "four"), (2, 0, 1))
    assert labelled(tmp_path / f"data{ending}", limit=2) == (("one", "two"), (2, 0))
    names = write(tmp_path, ending, ["good", "bad", "bad", "good"])
    assert labelled(names, ["bad", "good", "other"])[1] == (1, 0, 1)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([3, 0, 0, 0], "not one of the head's classes, 0 to 2"),
        ([-1, 0, 0, 0], "not one of the head's classes"),
        (["good", "", "", ""], "is not a number"),
        ([True, 0, 0, 0], "holds a boolean"),
        ([0.5, 0, 0, 0], "holds a number"),
    ],
)
def test_labels_that_name_no_class_are_refused(tmp_path: Path, labels: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        labelled(write(tmp_path, ".jsonl", labels))


def test_a_misspelt_label_gets_the_nearest_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'good'"):
        labelled(write(tmp_path, ".csv", ["god", "bad", "bad", "good"]), ["bad", "good", "other"])
    with pytest.raises(DataError, match="no column 'label'"):
        path = tmp_path / "x.jsonl"
        path.write_text('{"text": "a", "labels": 1}')
        labelled(path)


def test_figures_are_those_of_their_definitions() -> None:
    found = figures_of({"a": [1, 1, 0, 0], "b": [1, 1, 1, 0], "new": [1, 1, 1, 0]}, ends())
    assert found.tasks == {"a": 0.5, "b": 0.75}
    assert found.mean == 0.625
    assert found.normalised == pytest.approx((0.5 / 1 + 0.75 / 0.75) / 2)
    assert found.gain_kept == pytest.approx((0.25 + 0.25) / (0.75 + 0.25))
    assert (found.worst, found.worst_normalised) == ("a", 0.5)
    assert found.unseen == {"new": 0.75} and found.unseen_gain == pytest.approx(0.25)


def test_texts_of_language_models_count_by_their_tokens() -> None:
    weights = {"a": [1, 3], "b": [2, 2]}
    base, expert = {"a": [-3.0, -2.0], "b": [-4.0, -4.0]}, {"a": [-1.0, -1.0], "b": [-2.0, -2.0]}
    merged = {"a": [-2.0, -1.0], "b": [-3.0, -3.0]}
    found = figures_of(merged, Ends("perplexity", ("a", "b"), (), base, expert, weights))
    assert found.tasks == {"a": pytest.approx(math.exp(1.25)), "b": pytest.approx(math.exp(3.0))}
    assert found.mean == pytest.approx(math.exp((1.25 + 3.0) / 2))
    assert found.gain_kept == pytest.approx(((2.25 - 1.25) + 1.0) / (1.25 + 2.0))
    assert found.normalised == pytest.approx((math.exp(1 - 1.25) + math.exp(2 - 3.0)) / 2)


def test_there_is_no_share_of_a_gain_that_is_none() -> None:
    flat = Ends("accuracy", ("a",), (), {"a": [1, 0]}, {"a": [0, 1]}, None)
    assert figures_of({"a": [1, 1]}, flat).gain_kept is None


def test_differences_are_resampled_together() -> None:
    generator = np.random.default_rng(3)
    first = {"a": (generator.random(400) < 0.7).astype(float).tolist()}
    second = {"a": [*first["a"][:380], *(1 - np.array(first["a"][380:])).tolist()]}
    draws = resampled_differences(first, second, ("a",))
    changed = np.array(first["a"]) - np.array(second["a"])
    assert draws[0] == pytest.approx(changed.mean())
    assert draws[1:].std() == pytest.approx(changed.std() / math.sqrt(400), rel=0.1)


@pytest.mark.parametrize("measure", ["accuracy", "perplexity"])
def test_pages_escape_every_name_and_run_nothing(measure: str) -> None:
    made = comparison(HOSTILE, *(f"method {n}" for n in range(20)), measure=measure)
    page, drawing = comparison_page(made, "0.1.0"), curves_svg(made)
    for text in (page, drawing):
        assert HOSTILE not in text and "<script" not in text
        assert "\x1b" not in text and "\u202e" not in text
    assert "default-src 'none'" in page
    root = ElementTree.fromstring(drawing)
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 21
    heights = [
        float(text.get("y", "0")) for text in root.findall("{http://www.w3.org/2000/svg}text") if text.get("fill")
    ]
    assert len(heights) == 21
    # No name lies on another, and none outside of the picture.
    assert min(np.diff(sorted(heights))) > 11 and min(heights) > 0 and max(heights) < 460


def test_curves_rise_with_accuracy_and_fall_with_perplexity() -> None:
    def first_line(measure: str) -> list[float]:
        root = ElementTree.fromstring(curves_svg(comparison("ties", measure=measure)))
        line = root.find(".//{http://www.w3.org/2000/svg}polyline")
        assert line is not None
        return [float(point.split(",")[1]) for point in line.get("points", "").split()]

    half, one, two = first_line("accuracy")
    assert one < half < two  # upwards is less
    half, one, two = first_line("perplexity")
    assert one > half > two


def test_a_ruined_merge_does_not_flatten_the_curves() -> None:
    made = replace(comparison("ties", "tsv_m"), base_validation=0.62, experts_validation=0.72)
    made.rows[1].validation["2"] = 0.01
    root = ElementTree.fromstring(curves_svg(made))
    first, ruined = (line.get("points", "") for line in root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert max(float(point.split(",")[1]) for point in first.split()) < 400
    assert float(ruined.split()[-1].split(",")[1]) > 460  # below the picture, which is clipped there


def test_without_a_gain_no_share_of_it_is_claimed() -> None:
    made = comparison("ties")
    row = replace(made.rows[0], at_best=replace(made.rows[0].at_best, gain_kept=None, spread=None))
    _, below = comparison_markdown(replace(made, rows=(row,))).split("\n\n")
    # Two tasks, their test inputs without the unseen task's, scales and validation inputs: no share among them.
    assert figures(below) == [2, 8, 3, 8]


def test_markdown_has_a_row_a_method_and_says_who_wins() -> None:
    table, below = comparison_markdown(comparison("tsv_m", "ti|es", "iso_c")).split("\n\n")
    rows = table_rows(table.replace("\\|", ""))
    assert len(rows) == 2 + 1 + 3 + 1 and len(set(map(len, rows))) == 1
    # The share that the first keeps; the others are not named, for both are told apart from it.
    assert "tsv_m" in below and figures(below)[0] == 50
    assert "iso_c" not in below


def test_rows_within_two_deviations_are_not_told_apart() -> None:
    assert [row.name for row in comparison("x", "y").within_noise()] == []
    close = comparison("x", "y")
    object.__setattr__(close.rows[1], "behind_spread", 0.02)
    assert [row.name for row in close.within_noise()] == ["y"]


@pytest.mark.parametrize("content", [None, b"#" * (limits.RECIPE_BYTES + 1), b"- \xff"])
def test_a_list_of_methods_that_cannot_be_one(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "methods.yaml"
    if content is None:
        path.symlink_to("/dev/zero")  # a file without an end
    else:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"the list of methods (cannot be read: it is|is not UTF-8)"):
        read_entries(path)
