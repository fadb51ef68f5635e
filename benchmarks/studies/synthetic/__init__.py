"""What learning keeps without any data: inputs that are made, against real texts and against no learning."""
