"""Task vectors as fine-tuning leaves them: differences of float32 weights with a power-law spectrum over noise.

What is well-posed here, and by what margin. A truncated SVD has no answer where the singular values on both sides of
the cut are equal, TIES none where two entries are equal at the threshold or where signed sums cancel. All three are
decided by float64 arithmetic on the same float32 numbers in the reference and in the package, so that only ties below
about 1e-12 matter, except the election of `ties`, which sums in float32. Random spectra have none of either:
`assert_well_posed` says so of each case.
"""

from __future__ import annotations

import numpy as np

SHAPES = [(96, 64), (64, 96), (128, 128), (33, 7)]
TASKS = [1, 2, 3, 8]
SMALLEST_GAP = 1e-6


def task_vectors(seed: int, shape: tuple[int, int], tasks: int) -> list[np.ndarray]:
    """Differences of float32 weights of size 0.02 to 1: common directions, own ones, isotropic noise, rounding."""
    rng = np.random.default_rng(seed)
    m, n = shape
    size = 10 ** rng.uniform(np.log10(0.02), 0)
    base = (size * rng.standard_normal(shape)).astype(np.float32)
    common = powers(rng, shape, 1.0)
    taus = []
    for _ in range(tasks):
        own = powers(rng, shape, rng.uniform(0.5, 1.2))
        noise = rng.standard_normal(shape) / np.sqrt(max(m, n))
        tau = 0.05 * size * np.sqrt(max(m, n)) * (own + 0.2 * common + 0.01 * noise)
        taus.append((base + tau).astype(np.float32) - base)
    for tau in taus:
        assert_well_posed(tau)
    return taus


def adapters(seed: int, shape: tuple[int, int], tasks: int, rank: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Factors B (m, r) and A (r, n) in float32, of power-law spectra, with common columns between the tasks."""
    rng = np.random.default_rng(seed)
    m, n = shape
    common = rng.standard_normal((m, rank))
    pairs = []
    for _ in range(tasks):
        B = (rng.standard_normal((m, rank)) + 0.3 * common) * np.arange(1, rank + 1) ** -0.7
        pairs.append(((0.02 * B).astype(np.float32), (0.1 * rng.standard_normal((rank, n))).astype(np.float32)))
    return pairs


def powers(rng: np.random.Generator, shape: tuple[int, int], exponent: float) -> np.ndarray:
    short = min(shape)
    P = np.linalg.qr(rng.standard_normal((shape[0], short)))[0]
    Q = np.linalg.qr(rng.standard_normal((shape[1], short)))[0]
    return (P * np.arange(1, short + 1) ** -exponent) @ Q.T


def assert_well_posed(tau: np.ndarray) -> None:
    values = np.linalg.svd(tau.astype(np.float64), compute_uv=False)
    gaps = (values[:-1] - values[1:]) / values[:-1]
    assert gaps.min() > SMALLEST_GAP, f"a case with nearly equal singular values: relative gap {gaps.min():.1e}"
