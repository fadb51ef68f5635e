"""Scales without labels: rules that read a merge's scale off a few inner products of its task vectors.

Knows numbers only: `mergeometry.execution.measuring` takes them from tensors.
"""

from mergeometry.scaling.rules import DEFAULT_RULE, RULES, Rule, UndefinedScale, find, scale_by
from mergeometry.scaling.statistics import Statistics, total

__all__ = ["DEFAULT_RULE", "RULES", "Rule", "Statistics", "UndefinedScale", "find", "scale_by", "total"]
