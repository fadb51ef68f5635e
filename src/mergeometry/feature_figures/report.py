"""An inspection with the figures on inputs in it, and what they say at the head of its verdict."""

from __future__ import annotations

from dataclasses import replace

from mergeometry.feature_figures.words import sentences_on
from mergeometry.inspection.on_inputs import OnInputs
from mergeometry.inspection.result import Inspection


def with_figures(inspection: Inspection, figures: OnInputs) -> Inspection:
    """The inspection with ``figures``; what calls for a look comes before what only informs."""
    told = tuple(sentences_on(figures))
    verdict = sorted((*told, *inspection.verdict), key=lambda sentence: sentence.level == "note")
    return replace(inspection, on_inputs=figures, verdict=tuple(verdict))
