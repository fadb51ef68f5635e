"""Runs a plan: workers that compute one tensor each, a journal, and an output that appears only when complete."""
