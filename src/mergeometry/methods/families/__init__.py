"""The families of merge methods: what each needs of the task vectors, and what that costs; one class per file."""
