"""Slow float64 references of every diagnostic, from the definitions alone: full SVDs, loops, no use of the package."""

import itertools
import math

import numpy as np


def triplets(tau, count):
    left, values, right = np.linalg.svd(np.asarray(tau, np.float64), full_matrices=False)
    keep = min(count, int((values > 1e-6 * values[0]).sum())) if values.size and values[0] > 0 else 0
    # Signs as the frames fix them: the largest entry of each left direction is positive.
    signs = np.sign(left[np.abs(left).argmax(axis=0), range(left.shape[1])])
    return (left * signs)[:, :keep], values[:keep], (right.T * signs)[:, :keep]


def energy_kept(tau):
    energy = np.linalg.svd(tau, compute_uv=False) ** 2
    return [energy[: k + 1].sum() / energy.sum() for k in range(energy.size)]


def effective_rank(tau):
    energy = np.linalg.svd(tau, compute_uv=False) ** 2
    return math.exp(-sum(p * math.log(p) for p in energy / energy.sum() if p > 1e-30))


def stable_rank(tau):
    return np.linalg.norm(tau) ** 2 / np.linalg.norm(tau, 2) ** 2


def conflict_of_pair(one, other):
    pairs = list(zip(one.ravel(), other.ravel(), strict=True))
    cancelled = sum(min(abs(a), abs(b)) for a, b in pairs if a * b < 0)
    return cancelled / sum(abs(a) + abs(b) for a, b in pairs)


def conflict(taus):
    outvoted = 0.0
    for entries in zip(*(tau.ravel() for tau in taus), strict=True):
        elected = math.copysign(1.0, sum(entries))
        outvoted += sum(abs(entry) for entry in entries if entry * elected < 0)
    return outvoted / sum(np.abs(tau).sum() for tau in taus)


def principal_cosines(one, other):
    """Eigenvalues of the other basis projected on the first span."""
    projected = one @ one.T @ other
    squares = np.sort(np.linalg.eigvalsh(projected.T @ projected))[::-1]
    return np.sqrt(np.maximum(squares, 0))[: min(one.shape[1], other.shape[1])]


def interference(taus, count):
    tops = [triplets(tau, count) for tau in taus]
    U, V = (np.concatenate([top[side] for top in tops], axis=1) for side in (0, 2))
    S = np.diag(np.concatenate([top[1] for top in tops]))
    eye = np.eye(len(S))
    return np.abs((U.T @ U - eye) @ S @ (V.T @ V - eye)).sum()


def alignment(merged, tau, share=0.95):
    left, values, _ = np.linalg.svd(merged, full_matrices=False)
    k = next(k for k in range(1, values.size + 1) if (values[:k] ** 2).sum() >= share * (values**2).sum())
    projector = left[:, :k] @ left[:, :k].T
    return np.linalg.norm(projector @ tau) / np.linalg.norm(tau)


def consistency(merged, tau, count):
    left, values, _ = triplets(tau, count)
    columns, _, _ = triplets(merged, min(merged.shape))
    best = [max(abs(left[:, i] @ columns[:, j]) for j in range(columns.shape[1])) for i in range(values.size)]
    return sum(s * c for s, c in zip(values, best, strict=True)) / values.sum()


def accumulation(merged, taus):
    U, S, V = triplets(merged, min(merged.shape))
    result = []
    for r in range(S.size):
        shares = []
        for tau in taus:
            response = U[:, r] @ tau
            shares.append(max(1 / len(taus), S[r] * V[:, r] @ response / (response @ response)))
        result.append(sum(shares) / len(shares))
    return result


def deviation(merged, taus, count):
    tops = [triplets(tau, count) for tau in taus]
    rows = np.stack([(U.T @ merged @ V).ravel() for U, _, V in tops])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows -= rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    T = len(taus)
    simplex = T / (T - 1) * (np.eye(T) - np.ones((T, T)) / T)
    return np.linalg.norm(rows @ rows.T - simplex) / np.linalg.norm(simplex)


def residual(merged, taus, count):
    """With numpy's pseudo-inverse."""
    columns = np.concatenate([triplets(tau, count)[0] for tau in taus], axis=1)
    P, D, Qt = np.linalg.svd(columns, full_matrices=False)
    keep = 1e-7 * D[0] < D
    basis = P[:, keep] @ Qt[keep]
    K = basis.shape[1]
    frame = math.sqrt(K / (K - 1)) * basis @ (np.eye(K) - np.ones((K, K)) / K)
    outside = merged - frame @ np.linalg.pinv(frame, rcond=1e-7) @ merged
    return np.linalg.norm(outside) ** 2 / np.linalg.norm(merged) ** 2


def moved_rows(taus):
    by, alone = [0] * (len(taus) + 1), [0] * len(taus)
    for row in range(taus[0].shape[0]):
        movers = [t for t, tau in enumerate(taus) if any(entry != 0 for entry in tau[row])]
        by[len(movers)] += 1
        if len(movers) == 1:
            alone[movers[0]] += 1
    return by, alone


def pairs(taus):
    return list(itertools.combinations(range(len(taus)), 2))
