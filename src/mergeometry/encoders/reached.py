"""Which weights a forward pass uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def reached(features: Tensor, leaves: Mapping[str, Tensor]) -> set[str]:
    """Names of the leaves that ``features`` depend on, found by walking their graph backwards.

    Unlike gradients, which would tell the same, this takes no memory of the weights' size.
    """
    known = {id(leaf): name for name, leaf in leaves.items()}
    seen: set[Any] = set()
    found: set[str] = set()
    todo: list[Any] = [features.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Only the nodes that gather a leaf's gradient have a variable.
        name = known.get(id(getattr(node, "variable", None)))
        if name is not None:
            found.add(name)
        todo.extend(following for following, _ in node.next_functions)
    return found
