"""How methods are found: by their files, by entry points, and what is said of names that do not exist."""

from __future__ import annotations

import inspect
import pkgutil
import sys
from pathlib import Path

import pytest
import torch

import mergeometry
from mergeometry import methods
from mergeometry.conformance import check
from mergeometry.errors import RecipeError
from mergeometry.methods import registry
from mergeometry.methods.base import Method

PLUGIN = '''
"""Half of the first."""
from typing import Annotated, ClassVar
from mergeometry.methods.base import Linear, parameters

@parameters
class Halves(Linear):
    """Sum of the task vectors, times a share.

    Law: ``tau = share * sum_t w_t tau_t``.
    """
    source: ClassVar[str] = "none"
    share: float = 0.5

    def coefficients(self, weights):
        """Shares of the weights."""
        return [self.share * weight for weight in weights]
'''


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("tsvm", "tsv_m"), ("dc-merge", "dc_merge"), ("task_arithmetics", "task_arithmetic")]
)
def test_an_unknown_method_is_answered_with_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(RecipeError) as caught:
        registry.build(wrong, {})
    assert wrong in caught.value.what
    assert caught.value.hint is not None
    assert f"did you mean {nearest!r}?" in caught.value.hint


def test_a_name_like_no_other_is_answered_with_the_list() -> None:
    with pytest.raises(RecipeError) as caught:
        registry.build("qqqq", {})
    assert caught.value.hint is not None
    assert all(name in caught.value.hint for name in registry.names())


@pytest.mark.parametrize("private", ["base", "families", "registry", "__init__", ""])
def test_helpers_are_no_methods(private: str) -> None:
    with pytest.raises(RecipeError):
        registry.find(private)


def test_an_unknown_parameter_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="'blockmask'") as caught:
        registry.build("dc_merge", {"blockmask": True})
    assert caught.value.hint is not None
    assert "did you mean 'block_mask'?" in caught.value.hint
    with pytest.raises(RecipeError) as caught:
        registry.build("iso_c", {"density": 0.5})
    assert caught.value.hint == "iso_c has no parameters"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("ties", {"density": 0}, "density: .*greater than 0"),
        ("ties", {"density": 1.5}, "density: .*less than or equal to 1"),
        ("ties", {"density": float("nan")}, "density"),
        ("tsv_m", {"rank": 0}, "rank: .*integer >= 1"),
        ("tsv_m", {"rank": 1.5}, "rank: .*fraction"),
        ("tsv_m", {"rank": True}, "rank"),
        ("mda", {"simplex": "task"}, "simplex"),
        ("dc_merge", {"rho": 0.5}, "rho"),
        ("dc_merge", {"keep": "much"}, "keep"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        registry.build(name, given)


@pytest.mark.parametrize("name", registry.names())
def test_each_method_states_its_law_and_source(name: str) -> None:
    kind = registry.find(name)
    assert kind.__doc__ is not None
    assert "Law" in kind.__doc__, f"{name} states no law"
    assert "arXiv" in kind.source or kind.source.startswith("ours")
    method = registry.build(name, {})
    assert list(method.described()) == list(inspect.signature(kind).parameters)
    assert getattr(methods, kind.__name__) is kind
    with pytest.raises(AttributeError):
        method.rank = 3  # type: ignore[attr-defined]


def test_a_class_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = mergeometry.methods.Nothing


def test_adding_a_file_adds_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halves.py").write_text(PLUGIN)
    modules = pkgutil.iter_modules

    def with_folder(path: list[str]) -> object:
        return modules([*path, str(tmp_path)])

    monkeypatch.setattr(pkgutil, "iter_modules", with_folder)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    try:
        assert "halves" in registry.names()
        assert "Halves" in dir(methods)
        method = registry.build("halves", {"share": 0.25})
        assert methods.Halves is type(method)
        check(method)
        with pytest.raises(RecipeError, match="no parameter 'shares'"):
            registry.build("halves", {"shares": 0.25})
    finally:
        sys.modules.pop("mergeometry.methods.halves", None)


def test_a_file_with_no_method_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollow.py").write_text("")
    modules = pkgutil.iter_modules
    monkeypatch.setattr(pkgutil, "iter_modules", lambda path: modules([*path, str(tmp_path)]))
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    with pytest.raises(RecipeError, match="defines 0 method classes"):
        registry.find("hollow")
    sys.modules.pop("mergeometry.methods.hollow", None)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package on the path, with entry points as an installer writes them."""
    (tmp_path / "other_package.py").write_text(PLUGIN + "\nnothing = 3\n")
    info = tmp_path / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[mergeometry.methods]\n"
        "halves = other_package:Halves\n"
        "number = other_package:nothing\n"
        "abstract = mergeometry.methods.base:Linear\n"
        "ties = other_package:Halves\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "other_package", raising=False)


@pytest.mark.usefixtures("installed")
def test_another_package_offers_a_method() -> None:
    assert "halves" in registry.names()
    assert "halves" not in registry.own()
    method = registry.build("halves", {})
    assert "Halves" in dir(methods)
    assert methods.Halves is type(method)
    assert isinstance(method, Method)
    merged = method([torch.ones(3, 2), torch.ones(3, 2)])
    assert isinstance(merged, torch.Tensor)
    assert torch.equal(merged, torch.ones(3, 2))
    check(method)


@pytest.mark.usefixtures("installed")
def test_another_package_cannot_replace_a_method_of_ours() -> None:
    assert registry.find("ties").__module__ == "mergeometry.methods.ties"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["number", "abstract"])
def test_an_entry_point_to_something_else_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="does not lead to a method class"):
        registry.find(name)


@pytest.mark.parametrize("name", registry.names())
def test_what_a_method_is_called_with_is_checked(name: str) -> None:
    method = registry.build(name, {})
    with pytest.raises(ValueError, match="expected task vectors of one shape"):
        method([])
    with pytest.raises(ValueError, match="expected task vectors of one shape"):
        method([torch.ones(3, 2), torch.ones(2, 3)])
    with pytest.raises(ValueError, match="a weight for each of 2 task vectors, got 1"):
        method([torch.ones(3, 2)] * 2, [1.0])


@pytest.mark.parametrize("name", ["tsv_m", "mda", "dc_merge", "iso_cts"])
def test_a_rank_that_the_matrix_lacks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="rank 7 is out of range: a 12 x 6 matrix has at most 6"):
        registry.build(name, {"rank": 7})([torch.ones(12, 6)] * 2)


@pytest.mark.parametrize(("name", "parameters"), [("ties", {"density": True}), ("tsv_m", {"rank": False})])
def test_a_truth_value_is_no_number(name: str, parameters: dict[str, bool]) -> None:
    with pytest.raises(RecipeError, match="is no value of it"):
        registry.build(name, parameters)
