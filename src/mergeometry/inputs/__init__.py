"""Unlabelled data of the tasks: texts and images from files, folders and data sets; labels are never read."""

from __future__ import annotations

from mergeometry.inputs.images import read_images
from mergeometry.inputs.texts import read_texts
from mergeometry.inputs.unlabelled import UnlabelledData, read_unlabelled, unlabelled_texts

__all__ = ["UnlabelledData", "read_images", "read_texts", "read_unlabelled", "unlabelled_texts"]
