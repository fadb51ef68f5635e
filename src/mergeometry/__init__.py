"""Merge fine-tuned models and LoRA adapters by the geometry of their weight updates."""
