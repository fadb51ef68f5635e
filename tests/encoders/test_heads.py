"""A head is found in its file without a guess, and one that does not fit is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeometry.encoders.heads import Head, read_head
from mergeometry.errors import DataError, MergeometryError, SourceError
from mergeometry.recipe.inputs import HeadSource

WIDTH = 8


def saved(folder: Path, **tensors: torch.Tensor) -> Path:
    path = folder / "head.safetensors"
    safetensors.torch.save_file({name.replace("__", "."): value for name, value in tensors.items()}, path)
    return path


def read(path: Path, weight: str | None = None, bias: str | None = None, width: int = WIDTH) -> Head:
    return read_head(HeadSource(path=str(path), weight=weight, bias=bias), "trec", width)


def refusal(path: Path, weight: str | None = None, bias: str | None = None, width: int = WIDTH) -> str:
    with pytest.raises(MergeometryError) as caught:
        read(path, weight, bias, width)
    said = str(caught.value)
    assert "trec" in said and path.name in said
    return said


def test_a_head_saved_alone(tmp_path: Path) -> None:
    weight, bias = torch.randn(3, WIDTH), torch.randn(3)
    head = read(saved(tmp_path, weight=weight, bias=bias))
    assert torch.equal(head.weight, weight) and torch.equal(head.bias, bias)


def test_the_head_that_the_suite_writes(tmp_path: Path) -> None:
    from mergeometry_suite.heads import save_head

    head = Head(torch.randn(5, WIDTH), torch.randn(5))
    save_head(head, tmp_path / "h.safetensors")
    found = read(tmp_path / "h.safetensors")
    assert torch.equal(found.weight, head.weight) and torch.equal(found.bias, head.bias)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_precision_becomes_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    weight, bias = torch.randn(3, WIDTH).to(dtype), torch.randn(3).to(dtype)
    head = read(saved(tmp_path, weight=weight, bias=bias))
    assert head.weight.dtype == head.bias.dtype == torch.float32
    assert torch.equal(head.weight, weight.float()) and torch.equal(head.bias, bias.float())


def test_tensors_of_any_name_and_numbers_beside_them(tmp_path: Path) -> None:
    weight, bias = torch.randn(3, WIDTH), torch.randn(3)
    head = read(saved(tmp_path, out=weight, shift=bias, labels=torch.arange(3), steps=torch.tensor(7)))
    assert torch.equal(head.weight, weight) and torch.equal(head.bias, bias)


def test_no_vector_is_no_bias(tmp_path: Path) -> None:
    assert torch.equal(read(saved(tmp_path, weight=torch.ones(3, WIDTH))).bias, torch.zeros(3))


def test_a_head_inside_a_checkpoint(tmp_path: Path) -> None:
    weight, bias = torch.randn(3, WIDTH), torch.randn(3)
    others = {"encoder__weight": torch.randn(3, WIDTH), "encoder__bias": torch.randn(3), "norm": torch.randn(WIDTH)}
    path = saved(tmp_path, classifier__weight=weight, classifier__bias=bias, **others)
    for names in [("classifier.weight", "classifier.bias"), ("classifier.weight", None)]:
        head = read(path, *names)
        assert torch.equal(head.weight, weight) and torch.equal(head.bias, bias)
    assert torch.equal(read(path, "classifier.weight", "encoder.bias").bias, others["encoder__bias"])


def test_a_real_fine_tune_by_its_folder(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=20, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=4
    )
    model = BertForSequenceClassification(config)
    model.save_pretrained(tmp_path / "model")
    for head in (read(tmp_path / "model", "classifier.weight"), read(tmp_path / "model")):
        assert torch.equal(head.weight, model.classifier.weight) and torch.equal(head.bias, model.classifier.bias)


def test_a_checkpoint_s_head_without_a_bias(tmp_path: Path) -> None:
    path = saved(tmp_path, score__weight=torch.ones(3, WIDTH), inner__weight=torch.ones(4, 4), norm=torch.ones(WIDTH))
    assert torch.equal(read(path, "score.weight").bias, torch.zeros(3))


def test_several_candidates_are_listed(tmp_path: Path) -> None:
    said = refusal(saved(tmp_path, a=torch.ones(3, WIDTH), b=torch.ones(4, WIDTH), c=torch.ones(3)))
    assert "2 matrices: a [3, 8], b [4, 8]" in said and "weight: a" in said
    said = refusal(saved(tmp_path, a=torch.ones(3, WIDTH), b=torch.ones(3), c=torch.ones(3)))
    assert "2 vectors of the right length: b [3], c [3]" in said and "bias: b" in said


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    said = refusal(saved(tmp_path, **{f"m{number:03}": torch.ones(2, 2) for number in range(100)}))
    assert "100 matrices" in said and "..." in said and "m050" not in said


@pytest.mark.parametrize(
    ("tensors", "names", "wanted"),
    [
        ({"weight": (3, 9), "bias": (3,)}, (None, None), "takes 9 features, and the encoder gives 8"),
        ({"weight": (WIDTH, 3), "bias": (3,)}, (None, None), "takes 3 features, and the encoder gives 8"),
        ({"weight": (3, WIDTH), "bias": (4,)}, (None, None), "bias has 4 values, and the weight has 3 classes"),
        ({"weight": (3, WIDTH), "shift": (4,)}, (None, None), "no bias fits the weight's 3 classes: shift (4)"),
        ({"weight": (3, WIDTH), "b": (4,)}, ("weight", "b"), "bias has 4 values, and the weight has 3 classes"),
        ({"weight": (1, WIDTH), "bias": (1,)}, (None, None), "1 class; learning needs at least 2"),
        ({"weight": (0, WIDTH), "bias": (0,)}, (None, None), "0 class"),
        ({"bias": (3,)}, (None, None), "no matrix"),
        ({"weight": (3, WIDTH, 1)}, (None, None), "no matrix"),
        ({"weight": (3, WIDTH)}, ("wieght", None), "no tensor 'wieght', did you mean 'weight'?"),
        ({"weight": (3, WIDTH), "bias": (3,)}, ("weight", "bais"), "no tensor 'bais', did you mean 'bias'?"),
        ({"weight": (3, WIDTH), "bias": (3,)}, ("bias", None), "expected a matrix, got shape [3]"),
        ({"weight": (3, WIDTH), "bias": (3,)}, ("weight", "weight"), "expected a vector, got shape [3, 8]"),
    ],
)
def test_heads_that_do_not_fit(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], names: tuple[str | None, str | None], wanted: str
) -> None:
    path = saved(tmp_path, **{name: torch.ones(shape) for name, shape in tensors.items()})
    assert wanted in refusal(path, *names)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_numbers_that_are_not_finite(tmp_path: Path, name: str, bad: float) -> None:
    tensors = {"weight": torch.ones(3, WIDTH).double(), "bias": torch.ones(3).double()}
    tensors[name].view(-1)[-1] = bad
    said = refusal(saved(tmp_path, **tensors))
    assert "not finite" in said and f"tensor: {name}" in said


def test_whole_numbers_are_no_head(tmp_path: Path) -> None:
    assert "no matrix" in refusal(saved(tmp_path, weight=torch.ones(3, WIDTH).int()))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "h.safetensors").write_bytes(b"nonsense")
    (tmp_path / "h.pt").write_bytes(b"PK")
    for name in ["h.safetensors", "h.pt", "none.safetensors", "x\0y"]:
        with pytest.raises(SourceError, match="trec"):
            read(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.dictionaries(
        st.sampled_from(["weight", "bias", "a.weight", "a.bias", "x"]),
        st.lists(st.sampled_from([0, 1, 2, 3, WIDTH]), max_size=3),
        min_size=1,
    ),
    names=st.tuples(*[st.sampled_from([None, "weight", "bias", "a.weight"])] * 2),
)
def test_any_file_is_a_fitting_head_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]], names: tuple[str | None, str | None]
) -> None:
    path = tmp_path_factory.mktemp("heads") / "h.safetensors"
    safetensors.torch.save_file({name: torch.ones(shape) for name, shape in shapes.items()}, path)
    try:
        head = read(path, *names)
    except DataError as error:
        assert "trec" in str(error)
        return
    assert head.weight.shape[1] == WIDTH and head.bias.shape == head.weight.shape[:1] and len(head.bias) > 1
