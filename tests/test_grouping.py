"""Many sentences of one kind become one; a few, and those that differ in what they say, stay as they are."""

from __future__ import annotations

from mergeometry.errors import MismatchError
from mergeometry.grouping import FEW, grouped


def test_a_short_list_stays_as_it_is() -> None:
    texts = [f"task: 'layer.{number}' is BF16, the base's F32; set `output.dtype`" for number in range(FEW)]
    assert grouped(texts) == texts
    assert grouped([]) == []


def test_sentences_that_differ_in_names_and_shapes_are_one() -> None:
    texts = [f"task: 'layer.{number}' has shape [{number}, 2], the base [3, {number}]" for number in range(103)]
    others = ["task: 'x' is BF16, the base's F32", "another: 'layer.0' has shape [1], the base [2]"]
    assert grouped([others[0], *texts, others[1]]) == [
        others[0],
        "task: 'layer.0' has shape [0, 2], the base [3, 0]; likewise 'layer.1', 'layer.2', 'layer.3' and 99 more, "
        "103 in all",
        others[1],
    ]


def test_the_nearest_name_makes_no_difference() -> None:
    texts = [f"m: has no tensor 'layer.{number}' (nearest: 'layer.{number}.x')" for number in range(4)]
    texts += [f"m: has no tensor 'layer.{number}'" for number in range(4, 9)]
    assert grouped(texts) == [f"{texts[0]}; likewise 'layer.1', 'layer.2', 'layer.3' and 5 more, 9 in all"]


def test_models_of_which_the_same_holds_are_one() -> None:
    models = [f"bob's model {number}" for number in range(8)]
    kept = [f"{model}: 2 head tensors kept in heads/{model}.safetensors" for model in models]
    prefixes = [f"{model}: names begin with 'bert.' where the base's do not" for model in models]
    assert grouped([*prefixes, *kept]) == [
        f"{prefixes[0]}; likewise {', '.join(models[1:4])} and 4 more, 8 in all",
        f"{kept[0]}; likewise {', '.join(models[1:4])} and 4 more, 8 in all",
    ]
    assert grouped(prefixes[:3]) == prefixes[:3]


def test_names_in_any_quotes() -> None:
    names = ["it's", 'a "b"', "back\\slash", "plain", "'", "\N{SNOWMAN}"]
    assert len(grouped(f"m: {name!r} is F16" for name in names)) == 1
    assert grouped(["m: 'x' is F16"] * 7) == ["m: 'x' is F16; 7 times"]


def test_an_error_shows_groups_and_keeps_every_reason() -> None:
    reasons = [f"m: 'layer.{number}\x1b' is BF16" for number in range(50)]
    error = MismatchError("no", reasons, hint="cure")
    assert error.mismatches == tuple(reasons)
    first, only, hint = str(error).splitlines()
    assert (first, hint) == ("no", "  hint: cure")
    assert only.startswith(r"  - m: 'layer.0\x1b' is BF16; likewise ") and only.endswith("46 more, 50 in all")
