"""Compares methods on the suites (``python -m benchmarks.studies.leaderboards run BOARD``) and writes the pages."""
