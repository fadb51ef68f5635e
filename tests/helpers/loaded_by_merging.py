"""Importing this merges once, so that the processes that are forked from it have loaded all that a merge needs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mergeometry as mg
from tests.helpers.whole_merges import write_inputs

with tempfile.TemporaryDirectory() as _folder:
    _given = {**write_inputs(Path(_folder), adapters=1), "method": "dc_merge", "output": {"residuals": {"rank": 1}}}
    mg.merge(_given, Path(_folder) / "out", workers=1)
