"""Every cap on what an input may contain, in one place, each with its reason."""

HEADER_BYTES = 64 * 1024 * 1024
"""Largest safetensors header read; the format itself allows 100 MB, real ones stay below 2 MB."""

TENSORS_PER_FILE = 100_000
"""Names in one header; the largest public mixture-of-experts checkpoints hold about 90,000 in all shards."""

SHARDS = 4_096
"""Files one index may name."""

INDEX_BYTES = 64 * 1024 * 1024
"""Largest shard index read."""

JSON_BYTES = 4 * 1024 * 1024
"""Largest configuration file parsed (config.json, adapter_config.json)."""

RECIPE_BYTES = 128 * 1024
"""Largest recipe read."""

NAME_CHARACTERS = 1_024
"""Longest tensor name."""

DIMENSIONS = 16
"""Most dimensions of one tensor."""

SIDECAR_BYTES = 256 * 1024 * 1024
"""Largest configuration, tokenizer or processor file copied beside the weights."""

JSON_NESTING = 64
"""Deepest nesting of a configuration file; real ones stay below 10."""

INDEX_ENTRIES = 1_000_000
"""Tensors that one shard index may name."""

PATTERN_CHARACTERS = 1_024
"""Longest pattern in an adapter's rank_pattern or alpha_pattern; a full module name must fit."""

PATTERN_STEPS = 30_000
"""Automaton steps that one pattern may take on one name: a few milliseconds."""

PATTERN_STEPS_IN_ALL = 2_000_000
"""Steps that all patterns of one adapter may take on all its modules: about a second."""
