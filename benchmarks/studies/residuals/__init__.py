"""What residuals keep of the experts' gain by their size, at 8, 14 and 20 text tasks."""
