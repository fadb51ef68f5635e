"""From a recipe and the headers of its inputs to an ordered list of tensor tasks; no weight is read here."""

from mergeometry.plan.build import make_plan
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask

__all__ = ["Plan", "TensorTask", "make_plan"]
