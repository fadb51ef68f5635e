"""A small language model, real texts of six domains, and one LoRA expert for each, scored by perplexity."""
