"""Runs jobs on a Ray cluster: the same jobs, the same journal and the same bytes as on one machine."""

from mergeometry.execution.cluster.executor import Ray

__all__ = ["Ray"]
