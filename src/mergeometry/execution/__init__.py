"""Runs a plan: workers that compute one tensor each, a journal, and the folder that appears whole."""
