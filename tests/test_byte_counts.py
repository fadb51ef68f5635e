"""Numbers of bytes are read as people write them."""

from __future__ import annotations

import pytest

from mergeometry.byte_counts import bytes_in


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("8GB", 8_000_000_000), ("8 gb", 8_000_000_000), ("1.5G", 1_500_000_000), ("8GiB", 8 << 30), ("4096", 4096),
        ("4096B", 4096), ("500MB", 500_000_000), ("2k", 2000), ("1T", 10**12), ("", None), ("GB", None), ("-1GB", None),
        ("1e9", None), ("8iB", None), ("8GBs", None), ("inf", None),
    ],
)  # fmt: skip
def test_the_bytes_that_a_text_names(text: str, count: int | None) -> None:
    assert bytes_in(text) == count
