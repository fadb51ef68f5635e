"""Scales without labels: rules that read a merge's scale off a few inner products of its task vectors.

It works on numbers only: `mergeometry.execution.measuring` takes them from tensors.
"""

from mergeometry.scaling.layers import LAYER_RULES, Layer, LayerRule
from mergeometry.scaling.rules import AUTO, RULES, Rule, UndefinedScale, find, needed_by, scale_by
from mergeometry.scaling.statistics import Statistics, total

__all__ = [
    "AUTO",
    "LAYER_RULES",
    "RULES",
    "Layer",
    "LayerRule",
    "Rule",
    "Statistics",
    "UndefinedScale",
    "find",
    "needed_by",
    "scale_by",
    "total",
]
