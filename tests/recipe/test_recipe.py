"""A recipe means what it says, and what is wrong with one is said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergeometry import limits
from mergeometry.errors import RecipeError
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.recipe.yaml import parse_yaml

SMALL: dict[str, Any] = {"base": "b", "models": ["m", "n"], "method": "average"}


def refusal(given: Any, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(given, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("0.5", 0.5),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("12:30:00", "12:30:00"),
        ("5GB", "5GB"),
        ("'1'", "1"),
        ("[a, 1, no]", ["a", 1, "no"]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("'*embed*'", "*embed*"),
        ("a # said", "a"),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_yaml_means_what_it_says(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}")["key"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2", "duplicate key"),
        ("a: {b: 1, b: 2}", "duplicate key"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("a: !local 1", "tags"),
        ("a: !!float", "tags"),
        ("%YAML 1.1\n---\na: no", "directives"),
        ("%TAG ! tag:x,2000:\n---\na: no", "directives"),
        ("a: [1", "cannot be read"),
        ("a: 1\n---\nb: 2", "cannot be read"),
        ("a: *missing", "aliases"),
        ("a:\tb\n\tc: d", "cannot be read"),
        ("[" * 5000, "nested"),
        ("\n".join(" " * depth + "a:" for depth in range(100)), "nested"),
        ("%YAML 9.9\n---\na: 1", "directives|cannot be read"),
        ("a: " + "9" * 5000, "a whole number of 5,000 digits"),
        ("a: 0x" + "f" * 5000, "a whole number of 5,002 digits"),
        ("a: -0o" + "7" * 9000, "a whole number of"),
        *(
            (f"a: {word}", "is text in YAML 1.2")
            for word in ("0x_f", "0xF_F", "0o1_7", "1_0", "0b11", "=", "2020-01-01")
        ),
    ],
)
def test_yaml_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        parse_yaml(text)


def test_a_file_with_a_mark_of_its_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes("base: b\nmodels: [é]\nmethod: average\n".encode("utf-8-sig"))
    assert load_recipe(path).models[0].name == "é"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"- a\n- b\n", "a recipe must be a mapping"),
        (b"", "a recipe must be a mapping"),
        (b"just text", "a recipe must be a mapping"),
        (b"base: \xff\xfe", "not UTF-8"),
        ("base: b".encode("utf-16"), "not UTF-8"),
        (b"#" * (limits.RECIPE_BYTES + 1), "larger than"),
        (b"base: b\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    said = refusal(path)
    assert reason in said and str(path) in said


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.yaml")
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"modles": []}, "unknown key 'modles', did you mean 'models'"),
        ({"<": None}, "unknown key '<'"),
        ({"": 1}, "unknown key ''"),
        ({"metod": "x"}, "did you mean 'method'"),
        ({"output": {"dtpye": "base"}}, "unknown key 'output.dtpye', did you mean 'dtype'"),
        ({"output": {"adapter": {"rnak": 3}}}, "did you mean 'rank'"),
        ({"models": [{"path": "m", "wieght": 1}]}, "did you mean 'weight'"),
        ({"tensors": [{"mach": "*"}]}, "did you mean 'match'"),
        ({"zzz": 1}, "known: base, models"),
        ({"adapt": {"stpes": 3}}, "unknown key 'adapt.stpes', did you mean 'steps'"),
        ({"merge_method": "ties"}, "base: unknown key, did you mean 'base_model'?"),
    ],
)
def test_an_unknown_key_names_the_nearest(changes: dict[str, Any], wanted: str) -> None:
    assert wanted in refusal({**SMALL, **changes})


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"models": []}, "models"),
        ({"models": [{"path": "m", "weight": float("nan")}]}, "weight"),
        ({"models": [{"path": "m", "weight": float("inf")}]}, "weight"),
        ({"models": [{"path": ""}]}, "path"),
        ({"models": [{"name": "m"}]}, "models.0: give either `path`, or `stack`"),
        ({"models": "m"}, "models"),
        ({"scale": float("inf")}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": 1e39}, "scale"),
        ({"scale": "automatic"}, "scale: Input should be a valid number"),
        ({"scale": {"rule": "projektion"}}, "did you mean 'projection'"),
        ({"scale": {"rules": "projection"}}, "unknown key 'scale.rules', did you mean 'rule'"),
        ({"scale": {"per": "block"}}, "scale.per: Input should be"),
        ({"scale": {"factor": 0}}, "scale.factor: Input should be greater than 0"),
        ({"scale": {"grid": [0.1, 3.0, 0.1]}}, "'scale.tasks' is missing"),
        ({"tensors": [{"match": "*", "scale": float("-inf")}]}, "scale"),
        ({"tensors": [{"match": ""}]}, "match"),
        ({"base": ""}, "base"),
        ({"base": 3}, "base"),
        ({"method": {"rank": 3}}, "name"),
        ({"method": 3}, "method"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 10**5000}, "a whole number of 16,610 bits"),
        ({"scale": 10**5000}, "a whole number of 16,610 bits"),
        ({"scale": "a" * 1000}, "aaa...aaa"),
        ({"output": {"dtype": "int8"}}, "dtype"),
        ({"output": {"adapter": {"rank": 0}}}, "rank"),
        ({"output": {"adapter": "yes please"}}, "adapter"),
        ({1: 2}, "1"),
    ],
)
def test_a_value_that_does_not_fit_is_named(changes: dict[Any, Any], wanted: str) -> None:
    assert wanted in refusal({**SMALL, **changes})


def test_many_reasons_of_one_kind_are_one() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe({"base": "b", "models": ["m"], "method": "average", **{f"key{n}": 1 for n in range(300)}})
    assert "300 in all" in str(caught.value) and len(str(caught.value)) < 2_000


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = refusal({"modles": [], "method": "average", "seed": -1})
    assert all(part in said for part in ("'base' is missing", "'models' is missing", "'modles'", "seed"))


@pytest.mark.parametrize(
    ("size", "count"),
    [("2GB", 2 * 10**9), ("500MB", 5 * 10**8), ("1.5 gb", 15 * 10**8), ("4000KB", 4 * 10**6), (7_000_000, 7_000_000),
     ("7000000", 7_000_000), ("1T", 10**12)],
)  # fmt: skip
def test_shard_sizes(size: Any, count: int) -> None:
    assert load_recipe({**SMALL, "output": {"shard_size": size}}).output.shard_size == count


@pytest.mark.parametrize(
    "size", ["much", "GB", "5XB", "-5GB", "nanGB", "infGB", "²", "9" * 5000, 3, "1KB", None, [], ""]
)
def test_sizes_that_are_none(size: Any) -> None:
    assert "output.shard_size" in refusal({**SMALL, "output": {"shard_size": size}})


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["a/x", "b/x", "c/x"], ["x", "x-2", "x-3"]),
        (["a/x", "b/x", {"path": "c", "name": "x-2"}], ["x", "x-3", "x-2"]),
        (["a/x/", "./y"], ["x", "y"]),
        (["runs/base", "m"], ["base-2", "m"]),
        ([{"path": "a", "name": "b"}, "b"], ["b", "b-2"]),
        (["/", "."], ["model", "model-2"]),
    ],
)
def test_models_have_names_of_their_own(models: list[Any], names: list[str]) -> None:
    assert [entry.name for entry in load_recipe({**SMALL, "models": models}).models] == names


@pytest.mark.parametrize("name", ["a", "base"])
def test_a_name_given_twice_is_refused(name: str) -> None:
    models = [{"path": "m", "name": "a"}, {"path": "n", "name": name}]
    assert repr(name) in refusal({**SMALL, "models": models})


def test_overrides() -> None:
    given = {**SMALL, "method": "tsv_m"}
    recipe = load_recipe(
        given, ["method.rank=8", "output.adapter=true", "scale=1e-1", "seed=3", "heads=['c.*']", "base=no"]
    )
    assert recipe.method.name == "tsv_m" and recipe.method.given == {"rank": 8}
    assert recipe.output.adapter is True and recipe.scale == 0.1 and recipe.seed == 3
    assert recipe.heads == ("c.*",) and recipe.base == "no"
    assert load_recipe(given, ["method=ties"]).method.name == "ties"
    assert load_recipe(given, ["method.name=ties", "method.density=0.5"]).method.given == {"density": 0.5}
    assert load_recipe(given, ["other.density=0.5", "other.name=ties"]).other.given == {"density": 0.5}
    assert load_recipe(given, ["output.adapter.rank=3"]).output.adapter.rank == 3  # type: ignore[union-attr]
    assert given == {**SMALL, "method": "tsv_m"}


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("scale", "key=value"),
        ("=3", "key=value"),
        ("seed.0=3", "'seed' holds no keys"),
        ("base.x=3", "holds no keys"),
        ("sclae=3", "did you mean 'scale'"),
        ("scale=[", "cannot be read"),
        ("a..b=1", "unknown key"),
        ("a." * 5000 + "b=1", "the key has 5,001 parts"),
        ("scale=" + "9" * 5000, "99...: 999999999999... is a whole number"),
    ],
)
def test_overrides_that_are_refused(override: str, wanted: str) -> None:
    assert wanted in refusal(SMALL, (override,))


def test_paths_are_relative_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "r.yaml").write_text("base: ../b\nmodels: [m, /abs/n, ~/o]\nmethod: average\n")
    monkeypatch.setenv("HOME", "/home/someone")
    recipe = load_recipe(folder / "r.yaml")
    assert recipe.base == str(folder / "../b")
    assert [entry.path for entry in recipe.models] == [str(folder / "m"), "/abs/n", "/home/someone/o"]
    assert [entry.name for entry in recipe.models] == ["m", "n", "o"]
    assert load_recipe(SMALL).base == "b"


def test_a_user_who_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("base: ~nobody-of-this-name/b\nmodels: [m]\nmethod: average\n")
    assert "nobody-of-this-name" in refusal(tmp_path / "r.yaml")


def test_canonical_recipes_are_whole_and_read_back() -> None:
    recipe = load_recipe({**SMALL, "method": {"name": "dc_merge", "rank": 0.125}})
    canonical = recipe.canonical()
    assert canonical["method"] == {"name": "dc_merge", "rank": 0.125}
    assert canonical["scale"] == 1.0 and canonical["output"]["shard_size"] == 5 * 10**9
    assert Recipe.model_validate(canonical) == recipe


@pytest.mark.parametrize("value", ["1_0", "0b11", "2026-01-01", "1_000.5"])
def test_values_outside_the_core_schema_are_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"base: base\nmodels: [a, b]\nmethod: average\nscale: {value}\n")
    with pytest.raises(RecipeError, match="is text in YAML") as refused:
        load_recipe(file)
    assert f"'{value}'" in str(refused.value.hint)
    file.write_text(f"base: base\nmodels: [a, '{value}']\nmethod: average\n")
    assert Path(load_recipe(file).models[1].path).name == value


@pytest.mark.parametrize("keys", [{"scale": True}, {"seed": True}, {"tensors": [{"match": "*", "scale": False}]}])
def test_a_switch_is_no_number(keys: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        load_recipe({**SMALL, "method": "average", **keys})
