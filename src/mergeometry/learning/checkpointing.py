"""Activation checkpointing: each block's activations are computed again when gradients need them."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(module: nn.Module) -> int:
    """Make every repeated block of a module keep its inputs alone; return how many blocks there are.

    Blocks are the members of lists of two or more modules of one class: a transformer's layers.
    """
    blocks: list[Any] = []
    for found in module.modules():
        if isinstance(found, nn.ModuleList) and len(found) > 1 and len({type(block) for block in found}) == 1:
            blocks.extend(found)
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)
