"""Merges loaded and run by the libraries that their users load them with, each in an environment of its own."""
