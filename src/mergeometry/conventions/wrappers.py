"""Parts of names that training frameworks add around modules, and that mean nothing.

| part | written by |
| --- | --- |
| `module` | DataParallel, DistributedDataParallel, DeepSpeed: in front of the whole name |
| `_orig_mod` | torch.compile |
| `_fsdp_wrapped_module` | FullyShardedDataParallel |
| `_checkpoint_wrapped_module` | torch's checkpoint_wrapper |
| `_forward_module` | Lightning Fabric: in front of the whole name |
"""

from __future__ import annotations

_ANYWHERE = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_IN_FRONT = frozenset({"module", "_forward_module"})


def unwrapped(name: str) -> str:
    """The name without wrappers' parts."""
    parts = [part for part in name.split(".") if part not in _ANYWHERE]
    while len(parts) > 1 and parts[0] in _IN_FRONT:
        parts = parts[1:]
    return ".".join(parts)
