"""Exact order statistics of magnitudes that are passed a piece at a time, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, NDArray, Tensor, np, torch
from mergeometry.linalg.backend import in_main_memory
from mergeometry.linalg.bracket import Bracket
from mergeometry.linalg.sampling import SAMPLED_ELEMENTS

_NARROWEST = 4
"""Bytes of the narrowest floats whose digits take more than one pass."""
_DIGITS = {2: (15,), 4: (16, 15), 8: (16, 16, 16, 15)}
"""Bits of each digit of a float without its sign, from the leading, by the float's bytes."""


def integers_of(size: int) -> torch.dtype:
    """The integers that the bits of a float of so many bytes are read as."""
    return {2: torch.int16, 4: torch.int32, 8: torch.int64}[size]


class LargestMagnitudes:
    """Finds the ``count``-th largest magnitude for each of several counts.

    Pass all numbers to `add`, call `end_pass`, and again while `unfinished`. The bits of a float, without its sign,
    order as its magnitude does: each pass counts one more digit of them, among the numbers that agree with a sought
    magnitude in the digits before. Counts may be given as late as the end of the first pass. After `expect` one pass
    is enough, unless the sample was far from the whole; and where there are few in ``total``, which are held.
    """

    def __init__(self, counts: Sequence[int] = (), total: int | None = None) -> None:
        self._counts, self._total = list(counts), total
        self._digits: tuple[int, ...] = ()
        self._done = 0
        self._sought: dict[int, tuple[int, int]] = {}
        """Each place in ``counts``: the leading digits of its magnitude, and how many there are from that one on."""
        self._histograms: dict[int, NDArray[np.int64]] = {}
        """The leading digits of some magnitudes: how often each next digit follows them."""
        self._brackets: list[Bracket] = []
        self._held: Tensor | None = None
        """Every magnitude, where they are few."""
        self._filled = 0
        self._bits, self._leading = torch.empty(0), torch.empty(0)
        self.dtype = torch.float32
        """The numbers' dtype."""

    @property
    def started(self) -> bool:
        """Whether the first pass has ended."""
        return self._done > 0

    @property
    def unfinished(self) -> bool:
        """Whether another pass is needed."""
        return not self._digits or self._done < len(self._digits)

    @property
    def magnitudes(self) -> list[float]:
        """The magnitudes that were sought, in the order of their counts."""
        integer = integers_of(self.dtype.itemsize)
        bits = [self._sought[place][0] for place in range(len(self._counts))]
        return [float(torch.tensor(each, dtype=integer).view(self.dtype)) for each in bits]

    def expect(self, sample: Float[Tensor, "blocks length"], total: int) -> None:
        """Look at some of ``total`` numbers before the first pass; what is found does not depend on them."""
        if sample.itemsize < _NARROWEST or not in_main_memory(sample):
            return  # the first pass is the only one; or it is on a device, which counts fast
        bits = torch.abs(sample).view(integers_of(sample.itemsize)).numpy()
        ordered = np.sort(bits, axis=None)
        self._brackets = [Bracket(count, total, bits, ordered) for count in self._counts]

    def seek(self, counts: Sequence[int]) -> None:
        """Give the counts."""
        self._counts = list(counts)

    def add(self, values: Float[Tensor, " count"]) -> None:
        """Count some of the numbers; their signs do not matter."""
        if self._holds(values):
            self._hold(values)
            return
        bits, leading = self._scratch(values)
        torch.abs(values, out=bits.view(values.dtype))
        if self._brackets:
            for bracket in self._brackets:
                bracket.add(bits.numpy(), leading.numpy())
            return
        after = sum(self._digits[self._done :])
        kept = after - self._digits[self._done]
        if not self._done:
            if not self._histograms:
                self._histograms[0] = self._empty()
            digits = torch.bitwise_right_shift(bits, kept, out=leading)
            self._histograms[0] += torch.bincount(digits, minlength=1 << self._digits[0]).cpu().numpy()
            return
        if not in_main_memory(values):
            self._count_on_device(bits, leading, after, kept)
            return
        before, numbers = torch.bitwise_right_shift(bits, after, out=leading).numpy(), bits.numpy()
        size = 1 << self._digits[self._done]
        for prefix in self._histograms:
            digits = numbers[before == prefix] >> kept & (size - 1)
            self._histograms[prefix] += np.bincount(digits, minlength=size)

    def _holds(self, values: Tensor) -> bool:
        few = self._total is not None and self._total < SAMPLED_ELEMENTS
        return few and not self._brackets and values.itemsize >= _NARROWEST and in_main_memory(values)

    def _hold(self, values: Tensor) -> None:
        if self._held is None:
            self._set_dtype(values.dtype)
            self._held = torch.empty(self._total or 0, dtype=values.dtype)
        place = slice(self._filled, self._filled + values.numel())
        torch.abs(values, out=self._held[place])
        self._filled = place.stop

    def _count_on_device(self, bits: Tensor, leading: Tensor, after: int, kept: int) -> None:
        before, size = torch.bitwise_right_shift(bits, after, out=leading), 1 << self._digits[self._done]
        for prefix in self._histograms:
            digits = torch.bitwise_right_shift(bits[before == prefix], kept).bitwise_and_(size - 1)
            self._histograms[prefix] += torch.bincount(digits, minlength=size).cpu().numpy()

    def end_pass(self) -> None:
        """Choose the next digit of every magnitude that is sought."""
        if not self._digits:
            self._set_dtype(torch.float32)
        if self._held is not None:
            held = self._held.view(integers_of(self.dtype.itemsize)).numpy()
            places = [len(held) - count for count in self._counts]
            held.partition(places)
            self._sought = {place: (int(held[rank]), 1) for place, rank in enumerate(places)}
            self._held, self._done = None, len(self._digits)
            return
        if self._brackets:
            found = [bracket.found() for bracket in self._brackets]
            self._brackets = []
            if None not in found:
                self._sought = {place: (bits, 1) for place, bits in enumerate(found) if bits is not None}
                self._done = len(self._digits)
            return
        if not self._histograms:
            self._histograms[0] = self._empty()
        width = self._digits[self._done]
        for place, whole in enumerate(self._counts):
            prefix, count = self._sought.get(place, (0, whole))
            following = np.cumsum(self._histograms[prefix][::-1])
            digit = int(np.searchsorted(following, count))
            larger = int(following[digit - 1]) if digit else 0
            self._sought[place] = prefix << width | (1 << width) - 1 - digit, count - larger
        self._done += 1
        if self.unfinished:
            self._histograms = {prefix: self._empty() for prefix, _ in self._sought.values()}

    def _empty(self) -> NDArray[np.int64]:
        return np.zeros(1 << self._digits[self._done], dtype=np.int64)

    def _set_dtype(self, dtype: torch.dtype) -> None:
        self.dtype, self._digits = dtype, _DIGITS[dtype.itemsize]

    def _scratch(self, values: Tensor) -> tuple[Tensor, Tensor]:
        if not self._digits:
            self._set_dtype(values.dtype)
        count = values.numel()
        if self._bits.numel() < count:
            integer = integers_of(values.itemsize)
            self._bits, self._leading = (torch.empty(count, dtype=integer, device=values.device) for _ in range(2))
        return self._bits[:count], self._leading[:count]


def order_statistics(values: Float[Tensor, "*shape"], shares: Sequence[float]) -> list[float]:
    """The entries at the places ``floor(share (n - 1))`` of all n in order, for ascending shares."""
    places = [int(share * (values.numel() - 1)) for share in shares]
    if not in_main_memory(values):
        ordered = values.flatten().sort().values
        return [float(ordered[place]) for place in places]
    partitioned = values.flatten().numpy().copy()
    partitioned.partition(places)
    return [float(partitioned[place]) for place in places]
