"""What a handful of unlabelled inputs per task keeps of full fine-tunes: learning and closed forms, by their number."""
