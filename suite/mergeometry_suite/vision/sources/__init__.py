"""Where the images come from: one module per source."""
