"""Inputs that are made where there are no data: public sentences, drawings, and what a language model writes."""

from __future__ import annotations

from mergeometry.synthetic.make import made_inputs, refuse_unmakeable

__all__ = ["made_inputs", "refuse_unmakeable"]
