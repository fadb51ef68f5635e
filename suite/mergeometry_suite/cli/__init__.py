"""The commands that this package adds to ``mergeometry``: ``demo`` and ``suite``."""
