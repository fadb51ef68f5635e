"""Every cap on what an input may contain, in one place, each with its reason."""

HEADER_BYTES = 15 * 1024 * 1024
"""Largest safetensors header read, so that its bytes, its text and what is parsed stay below 50 MB together.

The format itself allows 100 MB; real ones stay below 2 MB.
"""

WIDE_BYTES = 2 * 1024 * 1024
"""Largest header or index read that is not all ASCII: one such character makes each of the text four bytes wide."""

TENSORS_PER_FILE = 100_000
"""Most tensors in one header; the largest public mixture-of-experts checkpoints hold about 90,000 in all shards."""

SHARDS = 4_096
"""Most files that one index may name."""

METADATA_ENTRIES = 10_000
"""Most entries of a header's free-form metadata; real ones stay below 100."""

INDEX_BYTES = 15 * 1024 * 1024
"""Largest shard index read; those of the largest public checkpoints have 10 MB."""

JSON_BYTES = 4 * 1024 * 1024
"""Largest configuration file parsed (config.json, adapter_config.json)."""

RECIPE_BYTES = 128 * 1024
"""Largest recipe read."""

NAME_CHARACTERS = 1_024
"""Longest tensor name."""

DIMENSIONS = 16
"""Most dimensions of one tensor."""

SIDECAR_BYTES = 256 * 1024 * 1024
"""Largest configuration, tokenizer or processor file copied next to the weights."""

TOKENIZER_BYTES = 64 * 1024 * 1024
"""Largest file of a tokenizer, which is held in memory to compare it; real ones stay below 40 MB."""

JSON_VALUES = 4_000_000
"""Most values of one JSON file, each of which takes 50 to 100 bytes in memory: 64 MB of `[]` would take 1.4 GB.

The largest public tokenizers have 1.8 million, most of them halves of merges.
"""

JSON_NESTING = 64
"""Deepest nesting of a configuration file; real ones stay below 10."""

INDEX_ENTRIES = 200_000
"""Most tensors that one shard index may name; the largest public checkpoints have about 90,000."""

PATTERN_CHARACTERS = 1_024
"""Longest pattern in an adapter's rank_pattern or alpha_pattern; a full module name must fit."""

PATTERN_STEPS = 500_000
"""Instructions times characters that one pattern may take on one name; RE2 takes at most about 10 ns for each."""

PATTERN_STEPS_IN_ALL = 100_000_000
"""Steps that all patterns of one adapter may take on all its modules: about a second."""

PATTERN_BYTES = 128 * 1024
"""Memory of one compiled pattern; a real one needs a few thousand bytes, and its states as much again."""

DATA_BYTES = 2 * 1024 * 1024 * 1024
"""Largest file of unlabelled texts read, and most characters taken from one source: they are held in memory."""

DATA_ITEMS = 5_000_000
"""Most texts or images of one source; learning uses a few thousand."""

EMPTY_LINES = 100_000
"""Most empty lines of a table or text that follow each other: 2 GB of them would take a quarter of an hour to read."""

DATA_COLUMNS = 10_000
"""Most columns of a table of texts."""

TEXT_BYTES = 16 * 1024 * 1024
"""Longest line, field or text file read as one text; an encoder reads its first few hundred words."""

IMAGE_BYTES = 256 * 1024 * 1024
"""Largest image file read."""

IMAGE_PIXELS = 100_000_000
"""Most pixels of one image: a small file can decompress to gigabytes."""
