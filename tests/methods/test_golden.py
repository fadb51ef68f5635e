"""Every method against its slow reference: the implementation is the paper's. Worst errors are printed with -s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from mergeometry.conformance.checks import accepts
from mergeometry.methods import registry
from mergeometry.values import LowRank
from tests.helpers import reference, spectra

TOLERANCE = 1e-4
SEEDS = 3
BY_OWN_RANK = ("tsv_m", "mda", "dc_merge", "own_blocks", "ct_merging", "reforge")
"""Methods whose automatic rank is an adapter's own."""

DC = [
    {"smoothing": smoothing, "combine": combine, "block_mask": mask, "keep": keep}
    for smoothing in ("auto", "none", "linear")
    for combine, keeps in (("ties", (1e-3, 0.05, 1.0)), ("sum", (1e-3,)), ("mean", (1e-3,)))
    for mask in (True, False)
    for keep in keeps
]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("average", {}),
    ("average", {"normalize": False}),
    *(("task_arithmetic", {"normalize": normalize}) for normalize in (False, True)),
    *(("passthrough", {"scale": scale}) for scale in (1.0, 0.0, 0.5)),
    ("rows", {}),
    *(("slerp", {"t": t}) for t in (0.0, 0.3, 0.5, 1.0)),
    ("slerp", {"dot_threshold": 0.5}),
    *(("nuslerp", given) for given in ({}, {"flatten": False}, {"flatten": False, "row_wise": True})),
    *(("nuslerp", {"origin": "zero", "flatten": flatten}) for flatten in (True, False)),
    *(("multislerp", {"normalize_weights": normalize}) for normalize in (True, False)),
    ("multislerp", {"origin": "zero"}),
    *(("karcher", given) for given in ({}, {"max_iter": 40, "tol": 1e-9})),
    *(("nearswap", {"t": t}) for t in (1e-4, 0.02)),
    ("arcee_fusion", {}),
    ("magmax", {}),
    *(("pcb", {"density": density}) for density in (0.1, 0.5, 1.0)),
    *(("ram", {"epsilon": epsilon}) for epsilon in (1e-5, 0.02)),
    *(("ramplus_tl", given) for given in ({}, {"epsilon": 0.02, "r": 0.5, "alpha": 1.0})),
    ("model_stock", {}),
    ("model_stock", {"filter_wise": True}),
    ("model_stock", {"filter_wise": True, "clamp": False, "skip_zeros": False}),
    *(("ties", {"density": density}) for density in (0.01, 0.2, 0.29, 1.0)),
    ("ties", {"density": 0.3, "rescale": True}),
    ("ties", {"density": 0.3, "rescale": True, "normalize": False}),
    *((name, {"density": 0.5, "rescale": "l1", "normalize": name == "dare"}) for name in ("dare", "dare_ties")),
    *((name, {"density": 0.5, "rescale": False}) for name in ("dare", "dare_ties")),
    *((name, {"rescale": "l1", "normalize": name == "della_linear"}) for name in ("della", "della_linear")),
    *((name, {"density": 0.5, "rescale": True, "normalize": True}) for name in ("breadcrumbs", "breadcrumbs_ties")),
    *((name, {"density": density}) for name in ("dare", "dare_ties") for density in (0.1, 0.5, 1.0)),
    *(
        (name, {"density": density, "gamma": gamma})
        for name in ("breadcrumbs", "breadcrumbs_ties")
        for density, gamma in ((0.1, 0.01), (0.5, 0.0), (0.9, 0.3), (1.0, 0.01))
    ),
    *((name, given) for name in ("della", "della_linear") for given in ({}, {"density": 0.3, "epsilon": 0.25})),
    *(("magnitude_prune", {"density": density}) for density in (0.01, 0.29, 1.0)),
    *(("sce", {"select_topk": share}) for share in (0.1, 0.5, 1.0)),
    ("sce", {"uniform_below": 1e6}),
    *(("knots", {"density": density}) for density in (0.01, 0.2, 1.0)),
    ("knots", {"combine": "sum"}),
    ("wudi", {}),
    ("wudi", {"solver": "adam", "steps": 50, "learning_rate": 1e-4}),
    *(("swudi", given) for given in ({}, {"keep": "auto", "filter": "none"})),
    ("actmat", {}),
    *(("ace", given) for given in ({}, {"threshold": 1e-6, "epsilon": 1e-4, "refined": 0.1})),
    ("reforge", {"ridge": 0.3}),
    ("adamerging", {}),
    *(("adamerging", {"density": density}) for density in (0.01, 0.2, 1.0)),
    *(("tsv_m", {"rank": rank}) for rank in ("auto", 3, 0.125, 0.5)),
    *(("own_blocks", {"rank": rank}) for rank in ("auto", 3, 0.125)),
    *(("ct_merging", {"common": common, "rank": rank}) for common, rank in ((4, "auto"), (40, 3))),
    ("core_space", {}),
    ("core_space", {"combine": "ties", "density": 0.02, "isotropic": False}),
    ("core_space", {"combine": "sum"}),
    ("iso_c", {}),
    *(("iso_cts", {"common": common}) for common in (0.0, 0.3, 0.8, 1.0)),
    *(
        ("mda", {"simplex": simplex, "rank": rank})
        for simplex in ("directions", "tasks", "neurons", "random", "none")
        for rank in ("auto", 3, 0.125)
    ),
    *(
        ("mda", {"simplex": simplex, **reading})
        for simplex, reading in (
            ("none", {"sides": "left"}),
            ("directions", {"sides": "left", "rank": 3}),
            ("tasks", {"sides": "left"}),
            ("neurons", {"sides": "left", "rank": 0.125}),
            ("none", {"subspace": "svd", "rank": 3}),
            ("directions", {"subspace": "svd"}),
            ("random", {"subspace": "svd", "sides": "left"}),
        )
    ),
    *(("dc_merge", given) for given in DC),
    *(("dc_merge", {"smoothing": "linear", "rho": rho, "rank": 3}) for rho in (1.0, 2.0)),
]

ALONE_UNDEFINED = {"tasks", "adam"}
"""A frame of one vertex, and steps by the sign of a gradient that is zero but for rounding."""


@pytest.fixture(scope="module")
def worst() -> Iterator[dict[str, float]]:
    errors: dict[str, float] = defaultdict(float)
    yield errors
    print()
    for name, error in sorted(errors.items()):
        print(f"worst relative error  {name:32} {error:.1e}")


def label(case: tuple[str, dict[str, Any]]) -> str:
    return "-".join([case[0], *(str(value) for value in case[1].values())])


def test_every_method_has_a_reference() -> None:
    # What merges by activations or Fisher information has references of its own, in files of their own.
    here = {name for name in registry.names() if not registry.find(name).merges_by}
    assert {name for name, _ in CASES} == here, f"expected a reference for each of {sorted(here)}"


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("case", CASES, ids=label)
def test_dense(case: tuple[str, dict[str, Any]], weighted: bool, worst: dict[str, float]) -> None:
    name, given = case
    # numpy's full SVDs are what takes the time: the settings share out the seeds; the small shape sees three of them.
    first = CASES.index(case) % SEEDS
    small = (33, 7)
    kinds = [(first, shape, tasks) for shape in spectra.SHAPES if shape != small for tasks in spectra.TASKS]
    kinds += [(seed, small, tasks) for seed in range(first, first + 3) for tasks in spectra.TASKS]
    for seed, shape, tasks in kinds:
        if tasks < 2 and ALONE_UNDEFINED & set(given.values()):
            continue
        if weighted and (tasks not in (2, 3) or shape not in ((96, 64), small)):
            continue
        taus = made(seed, shape, tasks)
        weights = [0.5 + 0.25 * t for t in range(tasks)] if weighted else None
        method, base = registry.build(name, given), base_of(seed, shape)
        if not accepts(method, tasks, torch.from_numpy(taus[0])):
            continue
        merged = method([torch.from_numpy(tau.copy()) for tau in taus], weights, base=torch.from_numpy(base))
        assert isinstance(merged, torch.Tensor)
        assert merged.dtype == torch.float32
        with cached_svd():
            expected = reference_of(name, given, base)(taus, weights=weights)
        check(name, merged, expected, worst, f"{given} seed {seed}, {shape}, T = {tasks}")


@pytest.mark.parametrize("case", CASES, ids=label)
def test_low_rank(case: tuple[str, dict[str, Any]], worst: dict[str, float]) -> None:
    name, given = case
    rank = 4
    for seed in [CASES.index(case) % 2]:
        for shape in [(96, 64), (64, 96)]:
            for tasks in spectra.TASKS:
                if tasks < 2 and ALONE_UNDEFINED & set(given.values()):
                    continue
                base = base_of(seed, shape)
                if not accepts(registry.build(name, given), tasks, torch.from_numpy(base)):
                    continue
                pairs = spectra.adapters(seed, shape, tasks, rank)
                deltas = [LowRank(torch.from_numpy(B), torch.eye(rank), torch.from_numpy(A.T)) for B, A in pairs]
                taus = [B.astype(np.float64) @ A.astype(np.float64) for B, A in pairs]
                asked = dict(given)
                if asked.get("rank", "auto") == "auto" and name in BY_OWN_RANK:
                    asked["rank"] = rank
                if isinstance(asked.get("rank"), float):
                    asked["rank"] = min(rank, int(asked["rank"] * min(shape)))
                if name == "iso_cts":  # its rank is the total one
                    asked["rank"] = min(rank * tasks, *shape)
                merged = registry.build(name, given)(deltas, base=torch.from_numpy(base))
                with cached_svd():
                    of_adapters = {"dc_merge": {"adapters": True}, "core_space": {"factors": pairs}}.get(name, {})
                    expected = reference_of(name, asked, base)(taus, **of_adapters)
                if registry.build(name, given).stays_low_rank:
                    assert isinstance(merged, LowRank)
                    assert merged.rank <= rank * tasks
                check(f"{name}, low-rank", dense(merged), expected, worst, f"{given} seed {seed}, {shape}, T = {tasks}")


def test_equal_entries_at_the_threshold_all_stay() -> None:
    """One task with a flat spectrum: its coordinates are one number times I, so a share of them is all of them."""
    tau = spectra.task_vectors(0, (96, 64), 1)[0]
    given = {"smoothing": "average", "keep": 1e-3}
    merged = registry.build("dc_merge", given)([torch.from_numpy(tau)])
    check("dc_merge", merged, reference.dc_merge([tau], **given), {}, "T = 1, flat spectrum")


@pytest.mark.parametrize("form", ["adapters", "full", "both"])
def test_dc_merge_smooths_adapters_alone_and_counts_what_it_keeps_by_form(form: str) -> None:
    """Three tasks of rank 5 on 33 x 16: 225 coordinates, of which full models keep shares of 256."""
    pairs = spectra.adapters(3, (33, 16), 3, 5)
    thin = [LowRank(torch.from_numpy(B), torch.eye(5), torch.from_numpy(A.T)) for B, A in pairs]
    taus = [B.astype(np.float64) @ A.astype(np.float64) for B, A in pairs]
    dense = [torch.from_numpy(tau) for tau in taus]
    deltas = {"adapters": thin, "full": dense, "both": [thin[0], *dense[1:]]}[form]
    merged = registry.build("dc_merge", {"keep": 0.06, "rank": 5})(deltas)
    by_form = {adapters: reference.dc_merge(taus, keep=0.06, rank=5, adapters=adapters) for adapters in (True, False)}
    assert np.linalg.norm(by_form[True] - by_form[False]) > 0.05 * np.linalg.norm(by_form[True])
    check("dc_merge", merged, by_form[form == "adapters"], {}, form)
    # By their own count and smoothing alone the two would differ still: each is held by itself.
    for given in ({"smoothing": "none"}, {"smoothing": "average"}):
        merged = registry.build("dc_merge", {"keep": 0.06, "rank": 5, **given})(deltas)
        expected = reference.dc_merge(taus, keep=0.06, rank=5, adapters=form == "adapters", **given)
        check("dc_merge", merged, expected, {}, f"{form}, {given}")


def base_of(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Weights of the base, for methods that merge where the models lie."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def reference_of(name: str, given: dict[str, Any], base: np.ndarray | None = None) -> Callable[..., np.ndarray]:
    plain = {key: value for key, value in given.items() if (key, value) != ("rank", "auto")}
    method = registry.build(name, given)
    if method.needs_base or method.uses_base:
        plain["base"] = base
    return lambda taus, **more: getattr(reference, name)(taus, **plain, **more)


def check(name: str, merged: Any, expected: np.ndarray, worst: dict[str, float], where: str) -> None:
    difference = np.linalg.norm(dense(merged).double().numpy() - expected)
    size = np.linalg.norm(expected)
    error = float(difference / size) if size else float(difference)
    worst[name] = max(worst.get(name, 0.0), error)
    assert error <= TOLERANCE, f"{name} {where}: expected relative error at most {TOLERANCE}, got {error:.2e}"


def dense(merged: torch.Tensor | LowRank) -> torch.Tensor:
    return merged.dense(torch.float64) if isinstance(merged, LowRank) else merged


_made: dict[tuple[int, tuple[int, int], int], list[np.ndarray]] = {}


def made(seed: int, shape: tuple[int, int], tasks: int) -> list[np.ndarray]:
    key = (seed, shape, tasks)
    if key not in _made:
        _made[key] = spectra.task_vectors(1000 * seed + 10 * tasks + shape[0], shape, tasks)
    return _made[key]


_decomposed: dict[tuple[bytes, tuple[int, ...]], Any] = {}


class cached_svd:  # noqa: N801
    """Lets the reference decompose each matrix once in a test session: the very same numpy call, remembered."""

    def __enter__(self) -> None:
        self.real = np.linalg.svd

        def svd(matrix: np.ndarray, full_matrices: bool = True) -> Any:
            key = (matrix.tobytes(), matrix.shape)
            if key not in _decomposed:
                _decomposed[key] = self.real(matrix, full_matrices=full_matrices)
            return tuple(part.copy() for part in _decomposed[key])

        np.linalg.svd = svd

    def __exit__(self, *_: object) -> None:
        np.linalg.svd = self.real
