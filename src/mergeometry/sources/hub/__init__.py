"""Models on the Hugging Face hub: found, judged by their headers, and fetched into the hub's own cache.

`huggingface_hub` is imported when a model of the hub is met, and not before.
"""

from __future__ import annotations

from mergeometry.sources.hub.cached import cached_snapshot, has_snapshot, is_offline
from mergeometry.sources.hub.client import find_model
from mergeometry.sources.hub.fetch import fetched
from mergeometry.sources.hub.outline import write_outline
from mergeometry.sources.hub.repository import HubModel

__all__ = ["HubModel", "cached_snapshot", "fetched", "find_model", "has_snapshot", "is_offline", "write_outline"]
