"""What residuals keep of the experts' gain by their size, at 8 and 14 text tasks."""
