"""A small language model, real texts of four domains, and one LoRA expert for each, judged by perplexity."""
