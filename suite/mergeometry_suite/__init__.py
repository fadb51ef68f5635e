"""A real backbone, real tasks and real experts, for the demo and the benchmark."""
