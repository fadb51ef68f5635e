"""Random choices that depend on nothing but their purpose: one stream of numbers per tensor and task."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 1 << 18
"""Entries drawn for at a time: their numbers stay in the processor's cache."""

_LEVELS = 1 << 32
"""Number of values that a drawn number can take, all equally likely."""


def stream_key(seed: int, tensor: str, task: str) -> int:
    """Key of the stream that belongs to one task's update of one tensor, under a recipe's seed."""
    digest = hashlib.sha256(json.dumps([seed, tensor, task]).encode()).digest()
    return int.from_bytes(digest[:16], "little")


def random_unit(size: int, key: int) -> Float[Tensor, " size"]:
    """A uniformly random unit vector, float64, from the stream of a key."""
    drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal(size)
    return torch.from_numpy(drawn / np.linalg.norm(drawn))


def dropped(values: Float[Tensor, "*shape"], key: int, density: float) -> Float[Tensor, "*shape"]:
    """Keep each entry with probability ``density`` and divide it by that; the others become zero.

    The stream is Philox, counted from the first entry: its numbers do not depend on dtype, threads, or what was
    drawn before, and NumPy guarantees the raw ones across versions.

    Source: DARE (arXiv 2311.03099) section 3.2, with drop rate ``p = 1 - density``.
    """
    flat = values.reshape(-1)
    kept = torch.zeros_like(flat)
    bound = np.uint32(min(round(density * _LEVELS), _LEVELS - 1))
    numbers = np.random.Philox(key=key)
    for first in range(0, flat.numel(), _BLOCK):
        block = flat[first : first + _BLOCK]
        drawn = numbers.random_raw((len(block) + 1) // 2).astype("<u8").view("<u4")[: len(block)]
        chosen = torch.from_numpy(drawn < bound) if density < 1 else torch.ones_like(block, dtype=torch.bool)
        kept[first : first + _BLOCK] = torch.where(chosen, block / density, 0)
    return kept.reshape(values.shape)
