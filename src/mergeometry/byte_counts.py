"""Numbers of bytes as people write them, such as ``5GB``."""

from __future__ import annotations

import re

_WRITTEN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(I?)B?")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def bytes_in(text: str) -> int | None:
    """The number of bytes that a text names, or None if it names none: ``5GB``, ``500 mb``, ``8GiB``, ``4096``.

    Powers of ten, as disks and memory limits of job schedulers are given; ``GiB`` is the power of two.
    """
    written = _WRITTEN.fullmatch(text.strip().upper())
    if written is None or (written[3] and not written[2]):
        return None
    return int(float(written[1]) * (1024 if written[3] else 1000) ** _POWERS[written[2]])
