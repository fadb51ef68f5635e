"""How well an input's task is found, and what residuals keep where they are chosen by a router."""
