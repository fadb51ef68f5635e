"""A small language model, real texts of six domains, and one LoRA expert for each, judged by perplexity."""
