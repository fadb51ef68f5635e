"""Finds methods by name: those of this folder by their files, those of other packages by entry point.

A package offers methods of its own by entry points in the group ``mergeometry.methods``: each is named after
its method and points to its class. Names are listed without importing anything heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergeometry.registration import Registry

if TYPE_CHECKING:
    from mergeometry.methods.base import Method

GROUP = "mergeometry.methods"
_REGISTRY: Registry[Method] = Registry(
    GROUP, "method", ("mergeometry.methods.base", "Method"), {"base", "families", "registry"}
)

names, own, find, build = _REGISTRY.names, _REGISTRY.own, _REGISTRY.find, _REGISTRY.build
class_names, attribute, name_of = _REGISTRY.class_names, _REGISTRY.attribute, _REGISTRY.name_of
