"""What each figure of an inspection means, in the words of its page; docs/reading-the-report.md has the formulas."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.inspection.prediction import Predicts, predicts

Definition = tuple[str, str]

BEFORE: tuple[Definition, ...] = (
    (
        "Moved",
        "Norm of the update: fine-tuned weights minus the base's. Over the base, it is a share of the base's norm.",
    ),
    (
        "Alignment with the base",
        "Cosine of the model's weights with the base's, over all matrices. Fine-tunes have more than 0.9; a model of "
        "another base has about 0. An adapter tells nothing about its base.",
    ),
    (
        "Effective rank",
        "exp of the entropy of the squared singular values: in how many directions the update moves. Stable rank is "
        "the squared norm over that of the strongest direction.",
    ),
    ("Cosine", "Of two updates laid flat. Updates of unrelated tasks have about 0, copies about 1."),
    (
        "Sign conflicts",
        "Share of the magnitude of the updates whose sign the others outvote. Of two independent updates 0.146, of "
        "many nearly 0.5.",
    ),
    (
        "Overlap",
        "Mean squared cosine of the principal angles between the leading directions of two models, on the side of the "
        "outputs and of the inputs. Random directions have as much as they take of the space.",
    ),
    (
        "Interference",
        "Singular task interference (arXiv 2412.00081) over the sum of the singular values: how much the directions of "
        "different models disturb each other when they are added. Of several models, the mean over their pairs.",
    ),
)
AFTER: tuple[Definition, ...] = (
    ("Held in the merge", "Inner product of the merged update and the model's, over the model's squared norm."),
    (
        "Alignment with the merge",
        "Subspace alignment ratio (arXiv 2502.04959): share of the norm of the model's update inside the output "
        "directions that hold 95 % of the merged matrix.",
    ),
    (
        "Directional consistency",
        "Cosine of each output direction of a model with its best match in the merged matrix, weighted by its singular "
        "value (arXiv 2603.06242).",
    ),
    (
        "Over-accumulation",
        "How often the merged matrix counts what its models share, mean over its directions by energy (arXiv "
        "2602.05536). The refinement svc divides by it.",
    ),
    (
        "Distance from a simplex",
        "Delta_ETF (arXiv 2512.00391): distance of the Gram matrix of the models' directions in the merged matrix from "
        "that of a simplex. Outside the frame is the share of the merged matrix that the frame of all directions does "
        "not span.",
    ),
)

ON_INPUTS = (
    (
        "Agreement",
        "Share of the inputs on which a model predicts what the expert predicts, with Wilson's 95 % interval; of "
        "a language model, share of equal next tokens, with a bootstrap over texts. Its accuracy is within 1 - "
        "agreement of the expert's.",
    ),
    (
        "Entropy",
        "Mean entropy of the predictions in nats: 0 where every prediction is certain, ln C at most with C classes.",
    ),
    (
        "CKA",
        "Linear centred kernel alignment (arXiv 1905.00414) of a model's features with the expert's, by unbiased "
        "estimates (JMLR 13, 1393): 1 for features equal up to rotation and scale, about 0 for unrelated ones.",
    ),
    (
        "Neural collapse",
        "Papyan, Han and Donoho 2020 (arXiv 2008.08186); 0 is collapsed. NC1: variability within classes over that "
        "between them. NC2: spread of the lengths of the centred class means, and distance of their cosines from a "
        "simplex's. NC3: squared distance of the head from the class means, 2 where they are orthogonal. NC4: share of "
        "inputs whose nearest class mean is not the class that the head predicts.",
    ),
)

_FIGURES = {
    "Moved": ("relative_norm",),
    "Effective rank": ("before: effective_rank",),
    "Cosine": ("before: cosine",),
    "Sign conflicts": ("before: conflict",),
    "Overlap": ("before: overlap_left", "before: overlap_right"),
    "Interference": ("before: interference",),
    "Held in the merge": ("share_held",),
    "Alignment with the merge": ("alignment",),
    "Directional consistency": ("consistency",),
    "Over-accumulation": ("accumulated",),
    "Distance from a simplex": ("deviation", "residual"),
    "Agreement": ("on inputs: agreement",),
    "Entropy": ("on inputs: entropy",),
    "CKA": ("on inputs: cka",),
    "Neural collapse": tuple(f"on inputs: {name}" for name in ("nc1", "nc2_lengths", "nc2_angles", "nc3", "nc4")),
}
"""Definition to the names of its figures in the calibration."""


def shown_to_predict(*, after: bool) -> Iterator[Definition]:
    """The definitions of figures that go with what is lost, each with how strongly."""
    for name, words in _definitions(after=after):
        if shown := _shown(name):
            yield name, f"{words} {' '.join(map(_in_words, shown))}"


def not_shown_to_predict(*, after: bool) -> Iterator[Definition]:
    """The definitions of all others: they describe the weights."""
    return ((name, words) for name, words in _definitions(after=after) if not _shown(name))


def definitions_on_inputs() -> Iterator[Definition]:
    """Every definition of a figure on inputs, with how strongly it goes with what is lost, where that was shown."""
    for name, words in ON_INPUTS:
        several = len(_FIGURES[name]) > 1
        shown = [
            f"{figure.rpartition(' ')[2].upper().replace('_', ' ')}: {_in_words(one)}" if several else _in_words(one)
            for figure in _FIGURES[name]
            for one in predicts(figure)
        ]
        yield name, " ".join([words, *shown]) if shown else f"{words} Not shown to go with what a task loses."


def _definitions(*, after: bool) -> tuple[Definition, ...]:
    return (*BEFORE, *(AFTER if after else ()))


def _shown(name: str) -> list[Predicts]:
    return [one for figure in _FIGURES.get(name, ()) for one in predicts(figure)]


_LEVELS = {
    "merges": "Over merges of the same models",
    "tasks": "Over the tasks of a merge",
    "layers": "Over the layers of a task",
    "pairs": "Over pairs of models",
}


def _in_words(one: Predicts) -> str:
    """How a figure goes with the loss on one level."""
    more = "more" if one.rho > 0 else "less"
    return (
        f"{_LEVELS[one.level]}, more of it goes with {more} lost (rank correlation {one.rho:.2f}, 95 % interval "
        f"{one.low:.2f} to {one.high:.2f})."
    )
