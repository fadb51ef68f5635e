"""The diagonal Fisher information of each model, read from files or estimated on unlabelled data before the merge."""
