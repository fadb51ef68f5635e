"""Objectives against plain float64 sums and SciPy, gradients by differences, and logits at the ends of their dtype."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
import torch
from scipy.stats import entropy

from mergeometry.learning.losses import alignment, class_means, distillation, hidden_matching, prediction_entropy


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def probabilities(logits: torch.Tensor) -> np.ndarray:
    return scipy.special.softmax(logits.numpy(), axis=-1)


MASK = torch.tensor([[True, True, False], [False, True, False]])


# ----------------------------------------------------------------------------------------------------- entropy


def test_entropy_is_scipys() -> None:
    logits = 3 * draw(0, 50, 7)
    expected = entropy(probabilities(logits), axis=-1).mean()
    assert float(prediction_entropy(logits)) == pytest.approx(expected, rel=1e-12)
    assert float(prediction_entropy(logits.float())) == pytest.approx(expected, rel=1e-5)
    assert prediction_entropy(logits.bfloat16()).dtype == torch.float32
    tokens = logits[:6].reshape(2, 3, 7)
    expected = entropy(probabilities(tokens[MASK]), axis=-1).mean()
    assert float(prediction_entropy(tokens, MASK)) == pytest.approx(expected, rel=1e-12)


def test_entropy_at_its_ends() -> None:
    assert float(prediction_entropy(torch.zeros(3, 5))) == pytest.approx(math.log(5))
    assert float(prediction_entropy(torch.tensor([[200.0, 0.0]]))) == 0
    assert float(prediction_entropy(torch.zeros(2, 1))) == 0


def test_entropys_gradient_makes_predictions_surer() -> None:
    """``dH/dl_i = -p_i (log p_i + H)``: falls along it; vanishes where all are alike and where one is sure."""
    logits = draw(1, 4, 6).requires_grad_(True)
    (gradient,) = torch.autograd.grad(prediction_entropy(logits), logits)
    p = torch.from_numpy(probabilities(logits.detach()))
    surprise = -p.log()
    expected = p * (surprise - (p * surprise).sum(dim=-1, keepdim=True)) / 4
    torch.testing.assert_close(gradient, expected)
    after = prediction_entropy((logits - 0.1 * gradient).detach())
    assert after < prediction_entropy(logits.detach())
    most = logits.detach().argmax(dim=-1)
    assert (gradient.gather(1, most[:, None]) < 0).all()  # a step against it raises the class that leads
    for ends in (torch.zeros(2, 3), torch.tensor([[90.0, -90.0, 0.0]])):
        end = ends.double().requires_grad_(True)
        (none,) = torch.autograd.grad(prediction_entropy(end), end)
        assert none.abs().max() < 1e-12


# --------------------------------------------------------------------------------------------------- alignment


def test_alignment_is_its_definition() -> None:
    rotated, prototypes = draw(2, 9, 5), torch.nn.functional.normalize(draw(3, 5, 4), dim=0)
    predicted = torch.arange(9) % 4
    expected = np.mean(
        [
            np.sum((z / np.linalg.norm(z) - prototypes.numpy()[:, c]) ** 2)
            for z, c in zip(rotated.numpy(), predicted.tolist(), strict=True)
        ]
    )
    assert float(alignment(rotated, predicted, prototypes)) == pytest.approx(expected, rel=1e-12)
    assert float(alignment(100 * rotated.float(), predicted, prototypes)) == pytest.approx(expected, rel=1e-5)


def test_alignment_at_its_ends() -> None:
    prototypes = torch.eye(3)
    predicted = torch.tensor([0, 2])
    assert float(alignment(7 * prototypes.mT[predicted], predicted, prototypes)) == 0
    assert float(alignment(-prototypes.mT[predicted], predicted, prototypes)) == 4


def test_a_feature_of_length_zero_has_no_direction_and_no_pull() -> None:
    features = torch.zeros(2, 3, requires_grad=True)
    with torch.no_grad():
        features[1] = torch.tensor([0.0, 2.0, 0.0])
    loss = alignment(features, torch.tensor([0, 0]), torch.eye(3))
    assert float(loss.detach()) == pytest.approx((1 + 2) / 2)
    (gradient,) = torch.autograd.grad(loss, features)
    assert torch.equal(gradient[0], torch.zeros(3))
    assert gradient[1].isfinite().all()
    assert gradient[1].abs().max() > 0.1


# ------------------------------------------------------------------------------------------------ distillation


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_is_scipys_divergence(temperature: float) -> None:
    student, teacher = 2 * draw(4, 2, 3, 8), 2 * draw(5, 2, 3, 8)
    each = entropy(probabilities(teacher / temperature), probabilities(student / temperature), axis=-1)
    found = float(distillation(student, teacher, temperature))
    assert found == pytest.approx(temperature**2 * each.mean(), rel=1e-10)
    found = float(distillation(student, teacher, temperature, MASK))
    assert found == pytest.approx(temperature**2 * each[MASK.numpy()].mean(), rel=1e-10)
    assert float(distillation(student.float(), teacher.float(), temperature)) == pytest.approx(
        temperature**2 * each.mean(), rel=1e-4
    )


def test_distillation_is_zero_for_the_teacher_alone_and_moves_towards_it() -> None:
    teacher = draw(6, 5, 4)
    assert float(distillation(teacher + 3.0, teacher)) == pytest.approx(0, abs=1e-15)  # logits are up to a constant
    student = draw(7, 5, 4).requires_grad_(True)
    (gradient,) = torch.autograd.grad(distillation(student, teacher), student)
    expected = (probabilities(student.detach()) - probabilities(teacher)) / 5
    torch.testing.assert_close(gradient, torch.from_numpy(expected))


def test_temperature_keeps_gradients_of_one_size() -> None:
    student, teacher = 0.01 * draw(8, 64, 10), 0.01 * draw(9, 64, 10)
    sizes = []
    for temperature in (1.0, 8.0):
        given = student.clone().requires_grad_(True)
        sizes.append(float(torch.autograd.grad(distillation(given, teacher, temperature), given)[0].norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_teachers_take_no_gradient() -> None:
    teacher = draw(10, 3, 4).requires_grad_(True)
    student = draw(11, 3, 4).requires_grad_(True)
    (distillation(student, teacher) + hidden_matching(student, teacher)).backward()
    assert teacher.grad is None
    assert student.grad is not None


# --------------------------------------------------------------------------------------------- hidden matching


def test_hidden_matching_is_its_definition() -> None:
    student, teacher = draw(12, 2, 3, 5), draw(13, 2, 3, 5)
    s, t = student.numpy().reshape(-1, 5), teacher.numpy().reshape(-1, 5)
    expected = ((s - t) ** 2).sum(axis=1).mean() / (t**2).sum(axis=1).mean()
    assert float(hidden_matching(student, teacher)) == pytest.approx(expected, rel=1e-12)
    kept = MASK.reshape(-1).numpy()
    expected = ((s - t) ** 2).sum(axis=1)[kept].mean() / (t**2).sum(axis=1)[kept].mean()
    assert float(hidden_matching(student, teacher, MASK)) == pytest.approx(expected, rel=1e-12)
    assert float(hidden_matching(40 * student, 40 * teacher)) == pytest.approx(
        float(hidden_matching(student, teacher)), rel=1e-12
    )
    assert float(hidden_matching(student[0], torch.zeros(3, 5))) > 1e30
    assert float(hidden_matching(torch.zeros(3, 5), torch.zeros(3, 5))) == 0


def test_what_padding_holds_is_never_touched() -> None:
    student, teacher = draw(14, 2, 3, 5), draw(15, 2, 3, 5)
    spoilt = student.clone()
    spoilt[~MASK] = float("nan")
    spoilt.requires_grad_(True)
    loss = (
        hidden_matching(spoilt, teacher, MASK)
        + distillation(spoilt, teacher, mask=MASK)
        + prediction_entropy(spoilt, MASK)
    )
    expected = (
        hidden_matching(student, teacher, MASK)
        + distillation(student, teacher, mask=MASK)
        + prediction_entropy(student, MASK)
    )
    assert torch.equal(loss.detach(), expected)
    (gradient,) = torch.autograd.grad(loss, spoilt)
    assert gradient.isfinite().all()
    assert torch.equal(gradient[~MASK], torch.zeros(3, 5, dtype=torch.float64))


# -------------------------------------------------------------------------------------------------- class means


def test_class_means_are_numpys() -> None:
    features, predicted = draw(16, 40, 6), torch.randint(5, (40,), generator=torch.Generator().manual_seed(0))
    predicted[predicted == 3] = 1
    unit = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    means, counts = class_means(features, predicted, 6)
    assert means.shape == (6, 6)
    for number in range(6):
        members = unit[predicted.numpy() == number]
        assert int(counts[number]) == len(members)
        expected = members.mean(axis=0) if len(members) else np.zeros(6)
        np.testing.assert_allclose(means[:, number].numpy(), expected, atol=1e-14)
    assert counts[3] == counts[5] == 0
    assert int(counts.sum()) == 40
    assert class_means(features.half(), predicted.int(), 6)[0].dtype == torch.float32


# ---------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    "loss",
    [
        prediction_entropy,
        lambda x: prediction_entropy(x.reshape(2, 3, 5), MASK),
        lambda x: alignment(x, torch.tensor([0, 1, 2, 0, 1, 2]), torch.nn.functional.normalize(draw(20, 5, 3), dim=0)),
        lambda x: distillation(x, draw(21, 6, 5)),
        lambda x: distillation(x.reshape(2, 3, 5), draw(21, 2, 3, 5), 3.0, MASK),
        lambda x: hidden_matching(x, draw(22, 6, 5)),
        lambda x: hidden_matching(x.reshape(2, 3, 5), draw(22, 2, 3, 5), MASK),
        lambda x: class_means(x, torch.tensor([0, 1, 2, 0, 1, 2]), 4)[0].pow(3).sum(),
    ],
    ids=["entropy", "entropy masked", "alignment", "distillation", "distillation masked and warm", "hidden",
         "hidden masked", "class means"],
)  # fmt: skip
def test_gradients(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (draw(23, 6, 5).requires_grad_(True),))


LARGEST = torch.finfo(torch.float32).max


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "rows",
    [
        [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]],
        [[LARGEST, -LARGEST, 0.0], [-LARGEST, -LARGEST, LARGEST]],
        [[float("-inf"), 0.0, 1.0], [float("-inf"), float("-inf"), 2.0]],
        [[0.0, 0.0, 0.0], [1e-40, 0.0, -1e-40]],
    ],
    ids=["large", "largest", "minus infinity", "tiny"],
)
def test_extreme_logits_give_numbers(rows: list[list[float]], dtype: torch.dtype) -> None:
    given = torch.tensor(rows, dtype=torch.float64)
    logits = given.clamp(min=torch.finfo(dtype).min, max=torch.finfo(dtype).max).where(given.isfinite(), given)
    logits = logits.to(dtype).requires_grad_(True)
    other = torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]], dtype=dtype)
    losses = [
        prediction_entropy(logits),
        distillation(logits, other),
        distillation(other.requires_grad_(True), logits.detach()),
        distillation(logits, logits.detach().flip(0)),
        distillation(logits, logits.detach(), 2.0),
    ]
    for loss in losses:
        assert loss.isfinite(), losses
        assert loss >= -1e-6
    gradients = torch.autograd.grad(sum(losses[1:], losses[0]), [logits, other])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert float(losses[0].detach()) <= math.log(3) + 1e-6
    assert float(losses[4].detach()) == pytest.approx(0, abs=1e-6)


def test_a_mean_over_nothing_is_refused() -> None:
    nothing = torch.zeros_like(MASK)
    values = draw(0, 2, 3, 5)
    for call in (
        lambda: prediction_entropy(values, nothing),
        lambda: distillation(values, values, mask=nothing),
        lambda: hidden_matching(values, values, nothing),
        lambda: prediction_entropy(values[:0]),
    ):
        with pytest.raises(ValueError, match="no rows"):
            call()
    with pytest.raises(ValueError, match="temperature"):
        distillation(values, values, 0.0)
