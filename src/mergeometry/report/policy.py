"""What a page's content security policy names: the hash of the one style or script that it may use."""

from __future__ import annotations

import base64
import hashlib


def source_hash(text: str) -> str:
    """The hash of an element's text, as a policy takes it after ``sha256-``."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
