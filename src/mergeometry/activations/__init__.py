"""What flows into each layer of each task's own model on unlabelled inputs, collected before the merge."""
