"""Gradient checkpointing: the blocks of a module are run again in the backward pass, to keep less in memory."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(module: nn.Module) -> int:
    """Make every repeated block of a module keep only its inputs for the backward pass; return the number of blocks.

    A block is a member of a list of two or more modules of one class, such as a transformer's layers.
    """
    blocks: list[Any] = []
    for submodule in module.modules():
        if not isinstance(submodule, nn.ModuleList):
            continue
        if len(submodule) > 1 and len({type(block) for block in submodule}) == 1:
            blocks.extend(submodule)
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)
