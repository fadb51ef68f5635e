"""mergekit's merge methods and their parameters, and which of ours gives the same.

Facts from mergekit 0.1.5, `mergekit.merge_methods`; its results for each are held against ours in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MISSING = object()
"""In place of a default: the parameter must be given."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a mergekit method."""

    name: str
    kind: Literal["number", "switch", "count"] = "number"
    default: Any = MISSING
    per: Literal["merge", "input", "other"] = "merge"
    """Given for the whole merge, for every input, or for every input but the base."""
    ours: str | None = ""
    """Its name here, the same where empty; None where it changes nothing of the result."""
    values: Mapping[Any, Any] = field(default_factory=dict)
    """What its values are called here, where that differs."""
    why: str = ""
    """Why it changes nothing."""

    @property
    def own_name(self) -> str | None:
        """Its name here."""
        return self.ours if self.ours is None else self.ours or self.name


@dataclass(frozen=True, slots=True)
class Method:
    """A mergekit method: ours that gives the same, and what it is given."""

    ours: str
    parameters: tuple[Parameter, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of ours that make it mergekit's."""
    base: Literal["ignored", "optional", "required"] = "required"
    without_base: Mapping[str, Any] = field(default_factory=dict)
    """Further ones where there is no base."""
    inputs: int | None = None
    """How many inputs it takes, the base included; any number where that is None."""
    others: int | None = None
    """How many inputs it takes beside the base."""
    least: int = 1
    """How many inputs it needs at least."""
    includes_base: bool = False
    """Whether the base is one of the models that ours merges."""


_MASK = Parameter("int8_mask", "switch", False, ours=None, why="a narrower mask saves memory and changes no result")
_LAMBDA = Parameter("lambda", default=1.0, ours="scale")


def _entries(
    ours: str, *more: Parameter, normalize: bool, rescale: bool, drawn: bool = False, drops: bool = True
) -> Method:
    """One of the methods that add, elect or average task vectors after dropping entries of them."""
    unused = "task vectors are added whole"
    return Method(
        ours,
        (
            _MASK,
            Parameter("normalize", "switch", normalize),
            Parameter(
                "rescale",
                "switch",
                rescale,
                ours="" if drops else None,
                values={True: "l1"} if drawn else {},
                why=unused,
            ),
            _LAMBDA,
            Parameter("weight", per="other"),
            Parameter("density", default=1.0, per="other", ours="" if drops else None, why=unused),
            *more,
        ),
    )


_GAMMA = Parameter("gamma", default=0.01, per="other")
_EPSILON = Parameter("epsilon", default=0.15, per="other")

METHODS: Mapping[str, Method] = {
    "linear": Method(
        "average",
        (Parameter("weight", per="input"), Parameter("normalize", "switch", True)),
        base="ignored",
        includes_base=True,
    ),
    "slerp": Method("slerp", (Parameter("t"),), {"dot_threshold": 0.9995}, inputs=2, least=2, includes_base=True),
    "nuslerp": Method(
        "nuslerp",
        (
            Parameter("weight", per="other"),
            Parameter("nuslerp_row_wise", "switch", False, ours="row_wise"),
            Parameter("nuslerp_flatten", "switch", True, ours="flatten"),
        ),
        base="optional",
        without_base={"origin": "zero"},
        others=2,
    ),
    "multislerp": Method(
        "multislerp",
        (
            Parameter("weight", per="other"),
            Parameter("normalize_weights", "switch", True),
            Parameter("eps", default=1e-8),
        ),
        base="optional",
        without_base={"origin": "zero"},
    ),
    "karcher": Method(
        "karcher",
        (Parameter("max_iter", "count", 10), Parameter("tol", default=1e-5)),
        base="ignored",
        includes_base=True,
    ),
    "task_arithmetic": _entries("task_arithmetic", normalize=False, rescale=False, drops=False),
    "ties": _entries("ties", normalize=True, rescale=False),
    "dare_ties": _entries("dare_ties", normalize=False, rescale=True, drawn=True),
    "dare_linear": _entries("dare", normalize=False, rescale=True, drawn=True),
    "breadcrumbs": _entries("breadcrumbs", _GAMMA, normalize=False, rescale=False),
    "breadcrumbs_ties": _entries("breadcrumbs_ties", _GAMMA, normalize=False, rescale=False),
    "della": _entries("della", _EPSILON, normalize=True, rescale=True, drawn=True),
    "della_linear": _entries("della_linear", _EPSILON, normalize=False, rescale=True, drawn=True),
    "sce": Method("sce", (_MASK, Parameter("select_topk", default=1.0)), {"uniform_below": 1e-6}),
    "model_stock": Method(
        "model_stock", (Parameter("filter_wise", "switch", False),), {"clamp": False, "skip_zeros": False}, least=3
    ),
    "nearswap": Method("nearswap", (Parameter("t"),), inputs=2, least=2),
    "arcee_fusion": Method("arcee_fusion", inputs=2, least=2),
    "ram": Method("ram", (Parameter("epsilon", default=1e-5),)),
    "ramplus_tl": Method(
        "ramplus_tl",
        (Parameter("r", default=0.1), Parameter("alpha", default=0.2), Parameter("epsilon", default=1e-5)),
    ),
    "passthrough": Method(
        "passthrough", (Parameter("scale", default=1.0, per="input"),), base="ignored", inputs=1, includes_base=True
    ),
}
"""Every method of mergekit 0.1.5, by its name there."""
