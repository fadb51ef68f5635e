"""The command line: the only part of mergeometry that prints."""

from mergeometry.cli.app import main

__all__ = ["main"]
