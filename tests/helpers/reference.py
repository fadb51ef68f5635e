"""Slow float64 references of every merge, from the definitions alone.

Full `numpy.linalg.svd` everywhere, one line of code for one line of mathematics, and no use of the package: whoever
doubts a result can read this file beside the definitions. Task vectors are lists of `(d_out, d_in)` arrays.

A weight multiplies its task vector before the merge, except in the two weighted means, `average` and `ties`, where it
is the weight of the mean.
"""

import hashlib
import json
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def as_float64(taus):
    return [np.array(tau, dtype=np.float64) for tau in taus]


def full_weights(taus, weights):
    return [1.0] * len(taus) if weights is None else [float(w) for w in weights]


# ----------------------------------------------------------------------------------------------- building blocks


def svd_with_signs(tau: Array):
    """All triplets, descending; the entry of largest magnitude of each `u` is positive."""
    P, D, Qt = np.linalg.svd(tau, full_matrices=False)
    for j in range(D.size):
        if P[np.argmax(np.abs(P[:, j])), j] < 0:
            P[:, j] *= -1
            Qt[j, :] *= -1
    return P, D, Qt.T


def polar(A: Array) -> Array:
    P, _, Qt = np.linalg.svd(A, full_matrices=False)
    return P @ Qt


def rank_of(rank, taus) -> int:
    short = min(taus[0].shape)
    if rank is None:
        return max(1, math.floor(short / len(taus)))
    if isinstance(rank, int):
        return min(rank, short)
    return max(1, math.floor(rank * short))


def decomposed(taus, rank, weights):
    """`U_t, S_t, V_t` of every weighted task vector."""
    k = rank_of(rank, taus)
    out = []
    for tau, w in zip(taus, full_weights(taus, weights), strict=True):
        P, D, Q = svd_with_signs(w * tau)
        out.append((P[:, :k], D[:k], Q[:, :k]))
    return out


def shared_subspace(tops):
    U = polar(np.concatenate([u for u, _, _ in tops], axis=1))
    V = polar(np.concatenate([v for _, _, v in tops], axis=1))
    return U, V


def trim(tau: Array, share: float, rounding: float = 0.0) -> Array:
    """Keep the largest magnitudes: `floor(share * size)` of them, at least one; ties at the threshold all stay.

    `rounding` is the relative difference under which computed entries count as tied.
    """
    count = max(1, math.floor(share * tau.size + 1e-9))
    threshold = sorted(np.abs(tau).ravel(), reverse=True)[count - 1]
    return np.where(np.abs(tau) >= threshold * (1 - rounding), tau, 0.0)


def elect_and_mean(kept, weights):
    """Sign by the weighted sum, weighted mean of the entries that agree, zero where the sum is zero."""
    total = sum(w * x for w, x in zip(weights, kept, strict=True))
    sign = np.sign(total)
    numerator = np.zeros_like(total)
    denominator = np.zeros_like(total)
    for w, x in zip(weights, kept, strict=True):
        agrees = (np.sign(x) == sign) & (sign != 0)
        numerator += np.where(agrees, w * x, 0.0)
        denominator += np.where(agrees, w, 0.0)
    return np.divide(numerator, denominator, out=np.zeros_like(total), where=denominator > 0)


def elect(kept, weights, normalize):
    """What agrees with the sign of the weighted sum: its weighted mean, or its sum."""
    if normalize:
        return elect_and_mean(kept, weights)
    scaled = [w * x for w, x in zip(weights, kept, strict=True)]
    sign = np.sign(sum(scaled))
    return sum(np.where(np.sign(x) == sign, x, 0.0) for x in scaled)


def add(kept, weights, normalize):
    total = sum(w * x for w, x in zip(weights, kept, strict=True))
    return total / sum(weights) if normalize else total


def sized(kept: Array, tau: Array) -> Array:
    """`kept` times what makes its magnitudes add up to those of `tau`."""
    return kept * np.sum(np.abs(tau)) / np.sum(np.abs(kept)) if np.any(kept) else kept


# ------------------------------------------------------------------------------------------------------- methods


def average(taus, normalize=True, base=None, weights=None):
    taus = as_float64(taus)
    ws = full_weights(taus, weights)
    if not normalize:
        base = np.array(base, dtype=np.float64)
        return sum(w * (base + tau) for w, tau in zip(ws, taus, strict=True)) - base
    return sum(w * tau for w, tau in zip(ws, taus, strict=True)) / sum(ws)


def passthrough(taus, scale=1.0, base=None, weights=None):
    (tau,) = as_float64(taus)
    return tau if scale == 1 else scale * (np.array(base, dtype=np.float64) + tau) - np.array(base, dtype=np.float64)


def task_arithmetic(taus, normalize=False, weights=None):
    taus = as_float64(taus)
    ws = full_weights(taus, weights)
    return sum(w * tau for w, tau in zip(ws, taus, strict=True)) / (sum(ws) if normalize else 1)


def rows(taus, weights=None, base=None, rounding=2.0**-24):
    taus = as_float64(taus)
    ws = full_weights(taus, weights)
    if taus[0].ndim != 2:
        return average(taus, weights=weights)
    shrunk = [(0.0, 0.0) if base is None else shrinkage(tau, base, rounding) for tau in taus]
    base = np.zeros_like(taus[0]) if base is None else np.array(base, dtype=np.float64)
    mean = sum(w * tau for w, tau in zip(ws, taus, strict=True)) / sum(ws)
    common = sum(w * factor for w, (factor, _) in zip(ws, shrunk, strict=True)) / sum(ws)
    merged = np.zeros_like(taus[0])
    for i in range(len(merged)):
        voters = [(w, tau[i], fit) for w, tau, fit in zip(ws, taus, shrunk, strict=True) if w != 0]
        moved = [has_moved(tau, base[i], fit) for _, tau, fit in voters]
        if all(moved) or not any(moved):
            merged[i] = mean[i]
            continue
        pairs = zip(voters, moved, strict=True)
        moves = [w * (tau + factor * base[i]) for (w, tau, (factor, _)), has in pairs if has]
        alone, together = sum(move @ move for move in moves), sum(moves) @ sum(moves)
        merged[i] = min(1.0, alone / together if together else 1.0) * sum(moves) - common * base[i]
    return merged


def shrinkage(tau, base, rounding):
    """The factor by which still rows shrank, and four times how far the typical one is from it."""
    tau, base = np.array(tau, dtype=np.float64), np.array(base, dtype=np.float64)
    fits = []
    for move, row in zip(tau, base, strict=True):
        if np.any(row != 0):
            along = -(move @ row) / (row @ row)
            across = np.linalg.norm(move + along * row) / np.linalg.norm(row)
            fits.append((along, across))
    still = [(along, across) for along, across in fits if across <= max(abs(along), rounding)]
    if len(still) < 2 or len(still) <= len(fits) * max(0.05, 2 * math.exp(-base.shape[1] / 4)):
        return 0.0, 0.0
    factor = sorted(along for along, _ in still)[(len(still) - 1) // 2]
    away = sorted(math.hypot(along - factor, across) for along, across in still)
    typical = away[(len(away) - 1) // 2]
    return (factor, 4 * typical) if typical <= max(abs(factor) / 2, rounding) else (0.0, 0.0)


def has_moved(move, row, fit):
    factor, noise = fit
    if (factor == 0 and noise == 0) or np.all(row == 0):
        return bool(np.any(move != 0))
    return bool(np.any(move != 0)) and np.linalg.norm(move + factor * row) > noise * np.linalg.norm(row)


def slerp(taus, base, t=0.5, dot_threshold=1.0, weights=None):
    """The arc between the unit vectors of both models, with the shares that it gives taken of the models themselves."""
    base = np.array(base, dtype=np.float64)
    one, other = (base + w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True))
    cosine = np.sum(one * other) / (np.linalg.norm(one) * np.linalg.norm(other))
    if abs(cosine) > dot_threshold:
        return (1 - t) * one + t * other - base
    omega = np.arccos(np.clip(cosine, -1, 1))
    return (np.sin((1 - t) * omega) * one + np.sin(t * omega) * other) / np.sin(omega) - base


def nuslerp(taus, row_wise=False, flatten=True, origin="base", base=None, weights=None):
    taus = as_float64(taus)
    if origin == "zero":
        start = np.array(base, dtype=np.float64)
        return nuslerp([start + tau for tau in taus], row_wise, flatten, weights=weights) - start
    ws = full_weights(taus, weights)
    if flatten:
        return arc(taus[0], taus[1], ws[1] / sum(ws))
    axis = 1 if row_wise else 0
    pairs = zip(*(np.moveaxis(tau, axis, 0) for tau in taus), strict=True)
    return np.stack([arc(one, other, ws[1] / sum(ws)) for one, other in pairs], axis=axis)


def arc(one, other, t):
    omega = np.arccos(np.clip(np.sum(one * other) / (np.linalg.norm(one) * np.linalg.norm(other)), -1, 1))
    if np.sin(omega) < 1e-6:
        return (1 - t) * one + t * other
    return (np.sin((1 - t) * omega) * one + np.sin(t * omega) * other) / np.sin(omega)


def multislerp(taus, normalize_weights=True, eps=1e-8, origin="base", base=None, weights=None):
    """The published steps: to the mean direction, along the tangent there, and out to the mean length."""
    taus = as_float64(taus)
    if origin == "zero":
        start = np.array(base, dtype=np.float64)
        return multislerp([start + tau for tau in taus], normalize_weights, eps, weights=weights) - start
    shares = np.array(full_weights(taus, weights))
    if normalize_weights:
        shares = shares / shares.sum()
    lengths = [np.linalg.norm(tau) for tau in taus]
    units = [tau / length for tau, length in zip(taus, lengths, strict=True)]
    mean = sum(a * unit for a, unit in zip(shares, units, strict=True))
    assert np.linalg.norm(mean) > eps, "the mean has no direction"
    mean = mean / np.linalg.norm(mean)
    tangent = sum(a * (unit - np.sum(unit * mean) * mean) for a, unit in zip(shares, units, strict=True))
    step = np.linalg.norm(tangent) + eps
    return (shares @ lengths) * (np.cos(step) * mean + np.sin(step) / step * tangent)


def karcher(taus, base, max_iter=10, tol=1e-5, weights=None):
    base = np.array(base, dtype=np.float64)
    models = [base + w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    lengths = [np.linalg.norm(model) for model in models]
    units = [model / length for model, length in zip(models, lengths, strict=True)]
    mean = sum(units) / np.linalg.norm(sum(units))
    for _ in range(max_iter):
        step = np.zeros_like(mean)
        for unit in units:
            theta = np.arccos(np.clip(np.sum(unit * mean), -1, 1))
            step += (theta / np.sin(theta) if theta else 1.0) * (unit - np.cos(theta) * mean) / len(units)
        size = np.linalg.norm(step)
        if size < tol:
            break
        mean = np.cos(size) * mean + np.sin(size) * step / size
        mean = mean / np.linalg.norm(mean)
    return np.mean(lengths) * mean - base


def nearswap(taus, t=1e-4, weights=None):
    (move,) = (w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True))
    return np.minimum(1, t / np.maximum(np.abs(move), 1e-300)) * move


def arcee_fusion(taus, base, weights=None):
    base = np.array(base, dtype=np.float64)
    (move,) = (w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True))
    p, q = (np.exp(weight) / np.exp(weight).sum(axis=-1, keepdims=True) + 1e-8 for weight in (base + move, base))
    importance = np.abs(move) * np.sum(p * np.log(p / q), axis=-1, keepdims=True)
    ordered = sorted(importance.ravel())
    low, median, high = (ordered[int(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75))
    return np.where(importance >= median + 1.5 * (high - low), move, 0.0)


def magmax(taus, weights=None):
    moves = np.stack([w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)])
    return np.take_along_axis(moves, np.argmax(np.abs(moves), axis=0)[None], axis=0)[0]


def pcb(taus, density=0.1, weights=None):
    taus = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]

    def softmax_of(product, factor):
        raised = np.exp(factor * product / np.max(np.abs(product)))
        return raised / np.sum(raised)

    kept = []
    for tau in taus:
        beta = softmax_of(tau * tau, len(taus)) * sum(softmax_of(tau * other, 1) for other in taus)
        beta = np.where(tau != 0, beta, 0.0)
        count = max(1, math.floor(density * tau.size + 1e-9))
        kept.append(np.where(beta >= sorted(beta.ravel(), reverse=True)[count - 1], beta, 0.0))
    total = sum(beta * tau for beta, tau in zip(kept, taus, strict=True))
    return np.divide(total, sum(kept), out=np.zeros_like(total), where=sum(kept) > 0)


def ram(taus, epsilon=1e-5, weights=None):
    moves = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    count = sum(np.abs(move) > epsilon for move in moves)
    return sum(np.where(np.abs(move) > epsilon, move, 0.0) for move in moves) / np.maximum(count, 1)


def ramplus_tl(taus, r=0.1, alpha=0.2, epsilon=1e-5, weights=None):
    moves = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    count = sum(np.abs(move) > epsilon for move in moves)
    merged = np.zeros_like(moves[0])
    for move in moves:
        changed = np.abs(move) > epsilon
        own, shared = changed & (count == 1), changed & (count > 1)
        factor = 1 + r * min(alpha, shared.sum() / own.sum()) if own.any() else 1.0
        merged += np.where(own, factor * move, 0.0) + np.where(shared, move / np.maximum(count, 1), 0.0)
    return merged


def model_stock(taus, filter_wise=False, clamp=True, skip_zeros=True, weights=None):
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    if filter_wise and scaled[0].ndim > 1:
        return np.stack(
            [model_stock([tau[i] for tau in scaled], False, clamp, skip_zeros) for i in range(len(scaled[0]))]
        )
    moved = [tau for tau in scaled if np.any(tau)] if skip_zeros else scaled
    N = len(moved)
    if N < 2:
        return sum(scaled)
    cosines = [
        np.sum(moved[s] * moved[t]) / max(1e-300, np.linalg.norm(moved[s]) * np.linalg.norm(moved[t]))
        for t in range(N)
        for s in range(t)
    ]
    cosine = max(0.0 if clamp else -1.0, sum(cosines) / len(cosines))
    if abs(1 + (N - 1) * cosine) < 1e-6:
        return np.zeros_like(scaled[0])
    return N * cosine / (1 + (N - 1) * cosine) * sum(moved) / N


def ties(taus, density, rescale=False, normalize=True, weights=None):
    taus = as_float64(taus)
    kept = [sized(trim(tau, density), tau) if rescale else trim(tau, density) for tau in taus]
    return elect(kept, full_weights(taus, weights), normalize)


def adamerging(taus, density=None, weights=None):
    """The sum that learned coefficients are to be put into, all one; the plus form of elected entries with a density.

    A task vector is multiplied by its weight before it is trimmed and voted on.
    """
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    if density is None:
        return sum(scaled)
    kept = [trim(tau, density) for tau in scaled]
    sign = np.sign(sum(kept))
    return sum(np.where(np.sign(tau) == sign, tau, 0.0) for tau in kept)


def key_of(seed, tensor, task):
    return int.from_bytes(hashlib.sha256(json.dumps([seed, tensor, task]).encode()).digest()[:16], "little")


def stay(shape, density, seed, tensor, task):
    """Which entries chance keeps: 32 bits for each from Philox, low half of a word first, against the density."""
    key = int.from_bytes(hashlib.sha256(json.dumps([seed, tensor, task]).encode()).digest()[:16], "little")
    size = math.prod(shape)
    words = [int(word) for word in np.random.Philox(key=key).random_raw((size + 1) // 2)]
    numbers = [half for word in words for half in (word % 2**32, word // 2**32)]
    chances = np.array(numbers[:size]).reshape(shape) / 2**32
    return chances < density


def after_drop(taus, chances, rescale, seed, tensor, names):
    names = [str(t) for t in range(len(taus))] if names is None else names
    kept = []
    for tau, chance, name in zip(taus, chances, names, strict=True):
        part = np.where(stay(tau.shape, chance, seed, tensor, name), tau, 0.0)
        kept.append(sized(part, tau) if rescale == "l1" else part / chance if rescale else part)
    return kept


def dare(taus, density=0.1, rescale=True, normalize=False, weights=None, seed=0, tensor="", names=None):
    taus = as_float64(taus)
    kept = after_drop(taus, [density] * len(taus), rescale, seed, tensor, names)
    return add(kept, full_weights(taus, weights), normalize)


def dare_ties(taus, density=0.1, rescale=True, normalize=True, weights=None, seed=0, tensor="", names=None):
    taus = as_float64(taus)
    kept = after_drop(taus, [density] * len(taus), rescale, seed, tensor, names)
    return elect(kept, full_weights(taus, weights), normalize)


def magnitude_prune(taus, density=0.2, weights=None):
    taus = as_float64(taus)
    return add([trim(tau, density) for tau in taus], full_weights(taus, weights), False)


def breadcrumbs_mask(tau: Array, density: float, gamma: float) -> Array:
    """The largest `gamma` go first, then the smallest, until `density` is left; ties with the last kept all stay."""
    kept = max(1, math.floor(density * tau.size + 1e-9))
    largest_first = sorted(np.abs(tau).ravel(), reverse=True)
    outliers = min(math.floor(gamma * tau.size + 1e-9), tau.size - kept)
    left = largest_first[outliers : outliers + kept]
    return (np.abs(tau) <= left[0]) & (np.abs(tau) >= left[-1])


def breadcrumbs(taus, density=0.1, gamma=0.01, rescale=False, normalize=False, weights=None):
    taus = as_float64(taus)
    kept = [tau * breadcrumbs_mask(tau, density, gamma) for tau in taus]
    kept = [sized(part, tau) for part, tau in zip(kept, taus, strict=True)] if rescale else kept
    return add(kept, full_weights(taus, weights), normalize)


def breadcrumbs_ties(taus, density=0.1, gamma=0.01, rescale=False, normalize=False, weights=None):
    taus = as_float64(taus)
    kept = [tau * breadcrumbs_mask(tau, density, gamma) for tau in taus]
    kept = [sized(part, tau) for part, tau in zip(kept, taus, strict=True)] if rescale else kept
    return elect(kept, full_weights(taus, weights), normalize)


def della_chances(tau: Array, density: float, epsilon: float) -> Array:
    """`density - epsilon` for the smallest entry of a row, `density + epsilon` for the largest, evenly between."""
    rows = tau.reshape(len(tau), -1) if tau.ndim > 1 else tau.reshape(1, -1)
    chances = np.full(rows.shape, density)
    for i, row in enumerate(rows):
        for rank, j in enumerate(np.argsort(np.abs(row), kind="stable")):
            if row.size > 1 and density < 1:
                chances[i, j] = density - epsilon + 2 * epsilon * rank / (row.size - 1)
    return chances.reshape(tau.shape)


def della_linear(
    taus, density=0.5, epsilon=0.15, rescale=True, normalize=False, weights=None, seed=0, tensor="", names=None
):
    taus = as_float64(taus)
    chances = [della_chances(tau, density, epsilon) for tau in taus]
    return add(after_drop(taus, chances, rescale, seed, tensor, names), full_weights(taus, weights), normalize)


def della(taus, density=0.5, epsilon=0.15, rescale=True, normalize=True, weights=None, seed=0, tensor="", names=None):
    taus = as_float64(taus)
    chances = [della_chances(tau, density, epsilon) for tau in taus]
    return elect(after_drop(taus, chances, rescale, seed, tensor, names), full_weights(taus, weights), normalize)


def sce(taus, select_topk=1.0, uniform_below=0.0, weights=None):
    taus = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    if select_topk < 1:
        variance = np.var(np.stack([tau - taus[0] for tau in taus]), axis=0)
        count = max(1, math.floor(select_topk * np.count_nonzero(variance) + 1e-9))
        threshold = sorted(variance.ravel(), reverse=True)[count - 1]
        taus = [np.where(variance >= threshold, tau, 0.0) for tau in taus]
    squares = [np.sum(tau**2) for tau in taus]
    if sum(squares) / taus[0].size < uniform_below:
        squares = [1.0] * len(taus)
    sign = np.sign(sum(taus))
    agree = [(np.sign(tau) == sign) & (sign != 0) for tau in taus]
    numerator = sum(q * tau * a for q, tau, a in zip(squares, taus, agree, strict=True))
    denominator = sum(q * a for q, a in zip(squares, agree, strict=True))
    return np.divide(numerator, denominator, out=np.zeros_like(taus[0]), where=denominator > 0)


def knots(taus, combine="ties", density=0.2, weights=None):
    """Its parts of the decomposition are `D Q_t^T`; directions of no strength have none."""
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    P, D, Qt = np.linalg.svd(np.concatenate(scaled, axis=1), full_matrices=False)
    alive = D / D[0] > 1e-6
    P, D, Qt = P[:, alive], D[alive], Qt[alive]
    parts = np.split(D[:, None] * Qt, len(taus), axis=1)
    if combine == "sum":
        return P @ sum(parts)
    return P @ elect_and_mean([trim(part, density, rounding=1e-9) for part in parts], [1.0] * len(taus))


def wudi(taus, solver="exact", steps=300, learning_rate=1e-5, weights=None):
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    if solver == "adam":
        return adam(scaled, steps, learning_rate)
    # ||(tau - tau_t) tau_t^T||^2 / ||tau_t||^2 is ||A_t tau^T - A_t tau_t^T||^2 with the rows A_t = tau_t / ||tau_t||.
    rows = [tau / np.linalg.norm(tau) for tau in scaled]
    A = np.concatenate(rows)
    B = np.concatenate([row @ tau.T for row, tau in zip(rows, scaled, strict=True)])
    return np.linalg.lstsq(A, B, rcond=1e-6)[0].T


def swudi(taus, keep=0.65, filter="exponential", time=1300.0, weights=None):
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    n = scaled[0].shape[1]
    sums = sum(tau @ tau.T @ tau / np.linalg.norm(tau) ** 2 for tau in scaled)
    # The eigenvalues of sum_t G_t are squared singular values of its rows; those that cancel count as zero.
    _, s, Vt = np.linalg.svd(np.concatenate([tau / np.linalg.norm(tau) for tau in scaled]), full_matrices=False)
    values = [v for v in s**2 if v > 1e-12 * s[0] ** 2]
    wanted = sum(np.sqrt(values)) ** 2 / sum(values) if keep == "auto" else keep * n
    last = values[min(len(values), math.ceil(wanted - 1e-9 * n)) - 1]
    tau = start = sum(scaled)
    for v, value in zip(Vt, values, strict=False):
        if value >= last * (1 - 1e-9):
            share = 1 - math.exp(-time * value) if filter == "exponential" else 1.0
            tau = tau + share * np.outer(sums @ v / value - start @ v, v)
    return tau


def actmat(taus, weights=None):
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    # tr((tau - tau_t) tau_t^T tau_t (tau - tau_t)^T) is ||tau_t tau^T - tau_t tau_t^T||^2.
    A, B = np.concatenate(scaled), np.concatenate([tau @ tau.T for tau in scaled])
    return np.linalg.lstsq(A, B, rcond=1e-6)[0].T


def ace(taus, epsilon=1e-2, threshold=0.3, refined=0.3, weights=None):
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    T, (m, n) = len(scaled), scaled[0].shape
    eye, ones = np.eye(n), np.ones((n, 1))
    D = [tau - np.ones((m, m)) @ tau / m for tau in scaled]
    logs = [math.log(np.trace(tau.T @ tau) + 1e-12) for tau in scaled]
    spread = sum((log - sum(logs) / T) ** 2 for log in logs) / max(1, T - 1)
    differ = T > 1 and spread / ((sum(logs) / T) ** 2 + 1e-12) > threshold
    a = [np.trace(d.T @ d) + 1e-12 if differ else 1.0 for d in D]
    C = [d.T @ d / size for d, size in zip(D, a, strict=True)]
    ridged = [c + epsilon / size * eye for c, size in zip(C, a, strict=True)]
    shared = ones @ (ones.T @ sum(C) / n)
    if differ:
        shared = shared / (sum(np.trace(tau.T @ tau) for tau in scaled) / T + 1e-12)
    first = sum(d @ c for d, c in zip(D, ridged, strict=True)) @ np.linalg.inv(sum(ridged) + shared)
    if not differ:
        return first
    rest = first + sum(tau @ (c - sum(ridged) / T) for tau, c in zip(scaled, C, strict=True))
    P, s, Qt = np.linalg.svd(rest, full_matrices=False)
    k = min(max(1, math.floor(refined * min(m, n) + 1e-9)), sum(s > 1e-6 * s[0]))
    return first + np.mean(s[:k]) * P[:, :k] @ Qt[:k]


def reforge(taus, anchor="tsv_m", ridge=1.0, rank=None, weights=None):
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    n = scaled[0].shape[1]
    merges = {"tsv_m": tsv_m, "own_blocks": own_blocks, "iso_c": iso_c, "task_arithmetic": sum}
    prior = merges[anchor](scaled, **({"rank": rank} if rank and anchor in ("tsv_m", "own_blocks") else {}))
    # Ridge regression as least squares: n more rows, of strength sqrt(b), ask for the anchor.
    strength = math.sqrt(ridge * len(scaled) / n)
    rows = [tau / np.linalg.norm(tau) for tau in scaled]
    A = np.concatenate([*rows, strength * np.eye(n)])
    B = np.concatenate([*(row @ tau.T for row, tau in zip(rows, scaled, strict=True)), strength * prior.T])
    return np.linalg.lstsq(A, B, rcond=None)[0].T


def adam(taus, steps, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Kingma and Ba 2015, Algorithm 1, on the gradient of the sum of interferences, term by term."""
    tau = sum(taus)
    first, second = np.zeros_like(tau), np.zeros_like(tau)
    for step in range(1, steps + 1):
        gradient = sum(2 * (tau - own) @ own.T @ own / np.linalg.norm(own) ** 2 for own in taus)
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        tau = tau - learning_rate * (first / (1 - beta1**step)) / (np.sqrt(second / (1 - beta2**step)) + epsilon)
    return tau


def svc(merged, taus, alpha=None):
    """Row by row: how much of each task's response to `u_r` the merged matrix already holds."""
    taus = [tau for tau in as_float64(taus) if tau.any()]
    P, D, Qt = np.linalg.svd(merged, full_matrices=False)
    alpha = 1 / len(taus) if alpha is None else alpha
    P, Qt = unique_among_equals(P, D, Qt, sum(tau @ tau.T for tau in taus))
    calibrated = np.zeros_like(merged)
    for r in range(D.size):
        if D[r] <= 1e-6 * D[0]:
            continue
        held = P[:, r] @ merged
        answers = [P[:, r] @ tau for tau in taus]
        loudest = max(np.linalg.norm(answer) for answer in answers)
        shares = [
            held @ answer / (answer @ answer) if np.linalg.norm(answer) > 1e-6 * loudest else 0.0 for answer in answers
        ]
        gamma = len(taus) / sum(max(alpha, share) for share in shares)
        calibrated += gamma * D[r] * np.outer(P[:, r], Qt[r])
    return calibrated


def unique_among_equals(P, D, Qt, energy):
    """Left directions of one singular value: eigenvectors of the tasks' energy inside their span."""
    P, Qt, r = P.copy(), Qt.copy(), 0
    while r < D.size:
        last = r
        while last + 1 < D.size and D[last] - D[last + 1] <= 1e-6 * D[last]:
            last += 1
        if last > r and D[r] > 1e-6 * D[0]:
            own = slice(r, last + 1)
            _, turned = np.linalg.eigh(P[:, own].T @ energy @ P[:, own])
            P[:, own], Qt[own] = P[:, own] @ turned, turned.T @ Qt[own]
        r = last + 1
    return P, Qt


def norm(merged, taus, target="mean", factor=1.0):
    norms = [np.linalg.norm(tau) for tau in as_float64(taus) if tau.any()]
    wanted = np.mean(norms) if target == "mean" else np.sqrt(np.sum(np.square(norms)))
    return factor * wanted / np.linalg.norm(merged) * merged


def pico(merged, taus):
    """After the merge: the mean norm of the task vectors as they were."""
    return norm(merged, taus)


def pico_calibrated(taus, lefts=None):
    """Before the merge: `lefts` are the B of adapters; without them the task vectors stand in."""
    taus = as_float64(taus)
    sides = taus if lefts is None else as_float64(lefts)
    U, s, _ = np.linalg.svd(np.concatenate(sides, axis=1), full_matrices=False)
    c = s**2 / (s**2).sum()
    alpha = 1 / (1 + (len(taus) - 1) * c)
    beside = np.eye(U.shape[0]) - U @ U.T
    return [U @ np.diag(alpha) @ U.T @ tau + beside @ tau for tau in taus]


def tsv_m(taus, rank=None, weights=None):
    taus = as_float64(taus)
    tops = decomposed(taus, rank, weights)
    U, V = shared_subspace(tops)
    return U @ np.diag(np.concatenate([s for _, s, _ in tops])) @ V.T


def iso_c(taus, weights=None):
    """The mean runs over the non-zero singular values: all of them, for the sum of full-rank task vectors."""
    taus = as_float64(taus)
    total = task_arithmetic(taus, weights=weights)
    P, D, Qt = np.linalg.svd(total, full_matrices=False)
    alive = (D > 0) & (D / max(D[0], 1e-300) > 1e-10)
    if not alive.any():
        return np.zeros_like(total)
    return D[alive].mean() * P[:, alive] @ Qt[alive]


def iso_cts(taus, common=0.8, rank=None, weights=None):
    """The common rank is set so that the rest divides evenly among the tasks, as in the published code.

    `rank` is the total one: all of the matrix's, or for adapters the rank of their sum.
    """
    taus = as_float64(taus)
    T, short = len(taus), min(taus[0].shape)
    if rank is not None:
        short = rank_of(rank, taus)
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), taus, strict=True)]
    each = min(round((short - int(common * short)) / T), short // T)
    c = short - each * T
    P, D, Qt = np.linalg.svd(sum(scaled), full_matrices=False)
    us, ss, vs = [P[:, :c]], [D[:c]], [Qt[:c].T]
    for tau in scaled:
        rest = tau - P[:, :c] @ (P[:, :c].T @ tau)
        p, d, qt = np.linalg.svd(rest, full_matrices=False)
        us.append(p[:, :each])
        ss.append(d[:each])
        vs.append(qt[:each].T)
    U, V = polar(np.concatenate(us, axis=1)), polar(np.concatenate(vs, axis=1))
    return np.concatenate(ss).mean() * U @ V.T


def ct_merging(taus, common=4, rank=None, weights=None):
    """Leading triplets stand for the task vectors, which adapters have whole; a tied consensus goes by its energy."""
    tops = [(u[:, s > 1e-6 * s[0]], s[s > 1e-6 * s[0]], v[:, s > 1e-6 * s[0]]) for u, s, v in
            decomposed(as_float64(taus), rank, weights) if s[0] > 0]  # fmt: skip
    P, D, _ = np.linalg.svd(np.concatenate([u for u, _, _ in tops], axis=1), full_matrices=False)
    U = ordered_among_equals(P, D, sum(u @ np.diag(s**2) @ u.T for u, s, _ in tops))[:, D / D[0] > 1e-7][:, :common]
    P, D, Qt = np.linalg.svd(sum(U.T @ (u * s) @ v.T for u, s, v in tops) / len(tops), full_matrices=False)
    kept = D / max(s[0] for _, s, _ in tops) > 1e-6
    lefts, rights, strengths = [U @ P[:, kept]], [Qt[kept].T], [root_mean_square(D[kept])]
    for u, s, v in tops:
        beside = u - U @ (U.T @ u)
        own = np.linalg.norm(beside, axis=0) > 1e-6
        lefts.append(beside[:, own])
        rights.append(v[:, own])
        strengths.append(np.full(own.sum(), root_mean_square(s)[0]))
    left, right = supported_polar(np.concatenate(lefts, axis=1)), supported_polar(np.concatenate(rights, axis=1))
    return left @ np.diag(np.concatenate(strengths)) @ right.T


def root_mean_square(values):
    return np.full(values.size, np.sqrt((values**2).mean())) if values.size else values


def supported_polar(A: Array) -> Array:
    """The polar factor where singular values are not zero: more columns than dimensions leave the rest open."""
    P, D, Qt = np.linalg.svd(A, full_matrices=False)
    alive = D / D[0] > 1e-7
    return P[:, alive] @ Qt[alive]


def ordered_among_equals(P, D, energy):
    """Singular vectors of equal singular value are open up to a rotation: those of `energy`, largest first."""
    P, first = P.copy(), 0
    for last in range(1, D.size + 1):
        if last < D.size and D[last - 1] - D[last] <= 1e-9 * D[0]:
            continue
        tied = P[:, first:last]
        P[:, first:last] = tied @ np.linalg.eigh(tied.T @ energy @ tied)[1][:, ::-1]
        first = last
    return P


def core_space(taus, combine="tsv_m", density=0.1, isotropic=True, factors=None, weights=None):
    """`factors` are the adapters' `(B, A)`; full models have none, so that their task vectors stand in."""
    scaled = [w * tau for w, tau in zip(full_weights(taus, weights), as_float64(taus), strict=True)]
    pairs = [(tau, tau) for tau in scaled] if factors is None else factors
    U = spanned(np.concatenate([B for B, _ in pairs], axis=1))
    V = spanned(np.concatenate([A.T for _, A in pairs], axis=1))
    cores = [U.T @ tau @ V for tau in scaled]
    if combine == "ties":
        M = elect_and_mean([trim(core, density, rounding=1e-9) for core in cores], [1.0] * len(taus))
    elif combine == "sum":
        M = sum(cores)
    else:
        M = tsv_m(cores, rank=max(1, min(U.shape[1], V.shape[1]) // len(taus)))
    if isotropic:
        P, D, Qt = np.linalg.svd(M, full_matrices=False)
        alive = D / D[0] > 1e-6
        M = D[alive].mean() * P[:, alive] @ Qt[alive]
    return U @ M @ V.T


def spanned(A: Array) -> Array:
    P, D, _ = np.linalg.svd(A, full_matrices=False)
    return P[:, D / D[0] > 1e-6]


def mda(taus, simplex="directions", sides="both", subspace="polar", rank=None, weights=None):
    taus = as_float64(taus)
    T, m = len(taus), taus[0].shape[0]
    tops = decomposed(taus, rank, weights)
    U, V = shared_subspace(tops)
    k = tops[0][1].size
    r = T * k
    if sides == "left":
        V = np.concatenate([v for _, _, v in tops], axis=1)
    if subspace == "svd":
        U, V = (np.concatenate([top[side] for top in tops], axis=1) for side in (0, 2))
        if simplex == "directions":
            return svd_frame(U, np.concatenate([s for _, s, _ in tops])) @ U @ stacked_values(tops) @ V.T
    shared = U @ stacked_values(tops) @ V.T
    if simplex == "none" or (simplex == "directions" and r == 1):  # one direction has no simplex
        return shared
    if simplex == "directions":
        return gram_operator(U, np.eye(r) - np.ones((r, r)) / r, r) @ shared
    if simplex == "tasks":
        return gram_operator(U, np.kron(np.eye(T) - np.ones((T, T)) / T, np.eye(k)), T) @ shared
    if simplex == "neurons":
        return gram_operator(np.eye(m), np.eye(m) - np.ones((m, m)) / m, m) @ shared
    if simplex == "random":
        # A mirror that swaps the mean of the unit vectors with the drawn direction: an orthonormal basis, whole.
        drawn = np.random.Generator(np.random.Philox(key=key_of(0, "", "simplex"))).standard_normal(m)
        mirror = np.ones(m) / math.sqrt(m) - drawn / np.linalg.norm(drawn)
        P = np.eye(m) - 2 * np.outer(mirror, mirror) / (mirror @ mirror)
        return gram_operator(P, np.eye(m) - np.ones((m, m)) / m, m) @ shared
    raise ValueError(simplex)


def own_blocks(taus, rank=None, weights=None):
    tops = decomposed(as_float64(taus), rank, weights)
    U, V = shared_subspace(tops)
    k = tops[0][1].size
    merged = np.zeros_like(as_float64(taus)[0])
    for t, (u, s, v) in enumerate(tops):
        P, Q = U[:, t * k : (t + 1) * k], V[:, t * k : (t + 1) * k]
        merged += P @ P.T @ (u @ np.diag(s) @ v.T) @ Q @ Q.T
    return merged


def stacked_values(tops):
    return np.diag(np.concatenate([s for _, s, _ in tops]))


def svd_frame(U, S):
    """The Gram operator of the frame on the left singular vectors of `U`; of equal values, sorted by their energy."""
    values, vectors = np.linalg.eigh(U @ U.T)
    vectors, values = vectors[:, values > 1e-12 * values.max()], values[values > 1e-12 * values.max()]
    ends = [i + 1 for i, step in enumerate(np.diff(values)) if step > 1e-8] + [len(values)]
    groups = [vectors[:, first:last] for first, last in zip([0, *ends], ends, strict=False)]
    energy = U @ np.diag(S) ** 2 @ U.T
    P = np.concatenate([group @ np.linalg.eigh(group.T @ energy @ group)[1] for group in groups], axis=1)
    P = P * np.where(np.take_along_axis(P, np.abs(P).argmax(axis=0)[None], axis=0) < 0, -1.0, 1.0)
    K = P.shape[1]
    return gram_operator(P, np.eye(K) - np.ones((K, K)) / K, K) if K > 1 else np.eye(len(U))


def gram_operator(P, centring, K):
    """`M M^T` of the frame `M = sqrt(K/(K-1)) P C`, with the projector `C` written out twice."""
    M = math.sqrt(K / (K - 1)) * P @ centring
    return M @ M.T


def smooth(S, smoothing, rho):
    if smoothing == "none":
        return S
    if smoothing == "average":
        return np.full_like(S, S.mean())
    if smoothing == "linear":
        if S.sum() == 0:
            return S
        q = min(rho, S[0] / S[-1]) if S[-1] > 0 else rho
        w = np.linspace(q, 1.0, S.size)
        return S.sum() * w / w.sum()
    raise ValueError(smoothing)


def dc_merge(
    taus, smoothing="auto", rho=5.0, combine="ties", keep=1e-3, block_mask=True, rank=None, weights=None, adapters=False
):
    taus = as_float64(taus)
    tops = decomposed(taus, rank, weights)
    if smoothing == "auto":
        smoothing = "average" if adapters else "none"
    r = len(tops) * tops[0][1].size
    side = r if adapters else max(r, min(taus[0].shape))
    U, V = shared_subspace(tops)
    coordinates = [U.T @ u @ np.diag(smooth(s, smoothing, rho)) @ v.T @ V for u, s, v in tops]
    if combine == "ties":
        padded = [np.pad(c, (0, side - r)) for c in coordinates]
        M = elect_and_mean([trim(c, keep, rounding=1e-9) for c in padded], [1.0] * len(taus))[:r, :r]
    elif combine == "sum":
        M = sum(coordinates)
    elif combine == "mean":
        M = sum(coordinates) / len(taus)
    else:
        raise ValueError(combine)
    if block_mask:
        k = tops[0][1].size
        M = M * np.kron(np.eye(len(taus)), np.ones((k, k)))
    return U @ M @ V.T
