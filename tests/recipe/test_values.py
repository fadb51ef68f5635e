from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from mergeometry.conventions.layer_names import LayerNames
from mergeometry.errors import RecipeError
from mergeometry.recipe import load_recipe
from mergeometry.recipe.values import Value, value_for

NAMES = LayerNames(
    ["embed.weight", *(f"layers.{n}.{part}.weight" for n in range(5) for part in ("attn", "mlp")), "norm.weight"], None
)


def at(value: Any, name: str) -> Any:
    return value_for(TypeAdapter(Value).validate_python(value), name, NAMES.place(name))


def along(value: Any) -> list[float]:
    return [at(value, f"layers.{n}.mlp.weight") for n in range(5)]


def test_a_gradient_is_interpolated_from_the_first_layer_to_the_last() -> None:
    assert along([0, 1]) == [0, 0.25, 0.5, 0.75, 1]
    assert along([0, 1, 0]) == [0, 0.5, 1, 0.5, 0]
    assert along([0, 0.3, 1, 1]) == pytest.approx([0, 0.225, 0.65, 1, 1])


def test_tensors_outside_of_the_layers_take_the_first_number() -> None:
    assert [at([2, 3], name) for name in ("embed.weight", "norm.weight")] == [2, 2]


def test_the_first_case_that_holds_counts() -> None:
    value = [{"match": "*attn*", "value": [0, 1]}, {"match": "layers.*", "value": 0.5}, {"value": 7}]
    assert at(value, "layers.1.attn.weight") == 0.25
    assert at(value, "layers.1.mlp.weight") == 0.5
    assert at(value, "norm.weight") == 7


def test_a_gradient_spans_the_layers_that_its_case_names() -> None:
    value = [{"layers": [0, 2], "value": [1, 2]}, {"layers": [2, 5], "value": [0, 1]}, {"value": 9}]
    assert along(value) == [1, 2, 0, 0.5, 1]
    assert at(value, "embed.weight") == 9


def test_before_and_after_the_layers() -> None:
    value = [{"layers": "before", "value": 1}, {"layers": "after", "value": 2}, {"value": 3}]
    assert [at(value, name) for name in ("embed.weight", "norm.weight", "layers.4.mlp.weight")] == [1, 2, 3]


def test_a_tensor_without_a_case_is_an_error() -> None:
    with pytest.raises(ValueError, match="add a last one with `value` alone"):
        at([{"match": "*attn*", "value": 1}], "norm.weight")


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ([1], "models.0.weight: a gradient is a list of two or more numbers"),
        ([], "models.0.weight: a gradient is a list of two or more numbers"),
        ([1, True], "models.0.weight.1: a number is needed, got true"),
        ([1, float("nan")], "models.0.weight.1"),
        ({"match": "*", "value": 1}, "models.0.weight: cases are a list, such as"),
        ([{"mach": "*", "value": 1}], "unknown key 'models.0.weight.0.mach', did you mean 'match'?"),
        ([{"match": "*"}], "'models.0.weight.0.value' is missing"),
        ([{"layers": [3, 2], "value": 1}], "models.0.weight.0.layers: a range of layers ends before it begins"),
        ([{"layers": [0, 2, 3], "value": 1}], "models.0.weight.0.layers: a range of layers such as [0, 8]"),
        ([{"layers": "after", "value": [0, 1]}], "there is no gradient after the layers"),
    ],
)
def test_values_that_are_not_usable(weight: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe({"base": "b", "models": [{"path": "a", "weight": weight}], "method": "ties"})
    assert said in str(caught.value)
    assert str(caught.value).count("\n  - ") == 1


def test_values_come_back_from_the_record() -> None:
    weight = [{"match": "*attn*", "layers": [0, 2], "value": [0, 0.5]}, {"value": 1}]
    recipe = load_recipe({
        "base": "b", "models": [{"path": "a", "weight": weight}, {"path": "c", "weight": [0, 1]}], "method": "ties",
        "scale": [0.5, 1],
    })  # fmt: skip
    again = load_recipe(recipe.canonical())
    assert again.canonical() == recipe.canonical()
    assert load_recipe(recipe.as_given()).canonical() == recipe.canonical()
    assert recipe.canonical()["models"][0]["weight"] == weight
