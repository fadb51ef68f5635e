"""Which weights a forward pass uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def reached(features: Tensor, leaves: Mapping[str, Tensor]) -> set[str]:
    """Names of the leaves that ``features`` depend on, found by walking their graph backwards.

    Gradients would show the same, but would take as much memory as the weights.
    """
    known = {id(leaf): name for name, leaf in leaves.items()}
    seen: set[Any] = set()
    reached_names: set[str] = set()
    todo: list[Any] = [features.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Only the nodes that gather a leaf's gradient have a variable.
        name = known.get(id(getattr(node, "variable", None)))
        if name is not None:
            reached_names.add(name)
        todo.extend(following for following, _ in node.next_functions)
    return reached_names
