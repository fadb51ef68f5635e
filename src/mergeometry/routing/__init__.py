"""Which task an input belongs to, where every task has a residual of its own on one merged model."""

from __future__ import annotations

from mergeometry.routing.fit import fit_router
from mergeometry.routing.router import Router

__all__ = ["Router", "fit_router"]
