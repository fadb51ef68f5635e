"""Fits the rules of `method: auto` on leaderboards, and measures what they lose on boards that were left out."""
