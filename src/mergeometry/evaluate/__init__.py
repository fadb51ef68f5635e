"""Scoring: run an encoder over prepared texts, classify with frozen heads, and compare merges."""
