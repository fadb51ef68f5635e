"""The families of merge methods: what each needs of the task vectors, and how much that takes; one class per file."""
