"""Scales without labels: rules that read a merge's scale off a few inner products of its task vectors.

It works on numbers only: `mergeometry.execution.measuring` takes them from tensors.
"""

from mergeometry.scaling.rules import AUTO, RULES, Rule, UndefinedScale, find, scale_by
from mergeometry.scaling.statistics import Statistics, total

__all__ = ["AUTO", "RULES", "Rule", "Statistics", "UndefinedScale", "find", "scale_by", "total"]
