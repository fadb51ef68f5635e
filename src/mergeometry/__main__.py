"""``python -m mergeometry``, the same as the console script."""

from mergeometry.cli import main

main()
