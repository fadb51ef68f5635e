"""A vision backbone, real images of several kinds of question, and an expert for each, scored by accuracy."""
