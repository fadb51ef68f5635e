"""The inputs that reach each layer of each task's own model on unlabelled data, collected before the merge."""
