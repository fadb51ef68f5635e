"""The methods as editors and type checkers see them: written by `make stubs`, never by hand.

Each class stands for the one in the file that it is imported from, with its constructor written out.
"""

from typing import Literal

from mergeometry.methods.ace import ACE as _ACE
from mergeometry.methods.actmat import ACTMat as _ACTMat
from mergeometry.methods.adamerging import AdaMerging as _AdaMerging
from mergeometry.methods.arcee_fusion import ArceeFusion as _ArceeFusion
from mergeometry.methods.average import Average as _Average
from mergeometry.methods.breadcrumbs import Breadcrumbs as _Breadcrumbs
from mergeometry.methods.breadcrumbs_ties import BreadcrumbsTies as _BreadcrumbsTies
from mergeometry.methods.core_space import CoreSpace as _CoreSpace
from mergeometry.methods.ct_merging import CTMerging as _CTMerging
from mergeometry.methods.dare import Dare as _Dare
from mergeometry.methods.dare_ties import DareTies as _DareTies
from mergeometry.methods.dc_merge import DCMerge as _DCMerge
from mergeometry.methods.della import Della as _Della
from mergeometry.methods.della_linear import DellaLinear as _DellaLinear
from mergeometry.methods.esm import ESM as _ESM
from mergeometry.methods.fisher import Fisher as _Fisher
from mergeometry.methods.iso_c import IsoC as _IsoC
from mergeometry.methods.iso_cts import IsoCTS as _IsoCTS
from mergeometry.methods.karcher import Karcher as _Karcher
from mergeometry.methods.knots import Knots as _Knots
from mergeometry.methods.magmax import Magmax as _Magmax
from mergeometry.methods.magnitude_prune import MagnitudePrune as _MagnitudePrune
from mergeometry.methods.mda import MDA as _MDA
from mergeometry.methods.model_stock import ModelStock as _ModelStock
from mergeometry.methods.multislerp import Multislerp as _Multislerp
from mergeometry.methods.nearswap import Nearswap as _Nearswap
from mergeometry.methods.nuslerp import Nuslerp as _Nuslerp
from mergeometry.methods.own_blocks import OwnBlocks as _OwnBlocks
from mergeometry.methods.passthrough import Passthrough as _Passthrough
from mergeometry.methods.pcb import PCB as _PCB
from mergeometry.methods.ram import Ram as _Ram
from mergeometry.methods.ramplus_tl import RamplusTL as _RamplusTL
from mergeometry.methods.reforge import ReForge as _ReForge
from mergeometry.methods.regmean import RegMean as _RegMean
from mergeometry.methods.regmean_plusplus import RegMeanPlusPlus as _RegMeanPlusPlus
from mergeometry.methods.rows import Rows as _Rows
from mergeometry.methods.sce import Sce as _Sce
from mergeometry.methods.slerp import Slerp as _Slerp
from mergeometry.methods.swudi import SWUDI as _SWUDI
from mergeometry.methods.task_arithmetic import TaskArithmetic as _TaskArithmetic
from mergeometry.methods.ties import Ties as _Ties
from mergeometry.methods.tsv_m import TSVM as _TSVM
from mergeometry.methods.wudi import WUDI as _WUDI

class ACE(_ACE):
    """Regress on covariances of the task vectors' rows, all alike in size where the updates are not, and refine.

    Law, with ``D_t`` the task vector ``tau_t`` without the mean of its rows and ``n`` inputs:

    1. Heterogeneity: ``g = var_t(log ||tau_t||^2) / mean_t(log ||tau_t||^2)^2``. Above ``threshold`` the updates differ
       in size, and ``C_t = D_t^T D_t / a_t`` and ``e_t = epsilon / a_t`` with ``a_t = ||D_t||^2``; else ``a_t = 1``.
    2. A prior that all share: ``P = 1 c^T``, ``c = C 1 / n`` with ``C = sum_t C_t``, where the updates differ in size
       divided by their mean ``||tau_t||^2``.
    3. ``tau_0 = (sum_t D_t (C_t + e_t I)) (C + sum_t e_t I + P)^{-1}``.
    4. Where the updates differ in size, ``R = tau_0 + sum_t tau_t (C_t - (C + sum_t e_t I) / T)``, and
       ``tau = tau_0 + mean(s) U V^T`` over the leading ``refined`` share of the singular triplets of ``R``.

    The absolute ``epsilon`` makes the merge of small updates their mean. Choices: a task vector whose rows are all
    alike has no covariance and is left out; where all are, the merge is their mean.

    Source: Xu et al. 2026, ACE-Merging, CVPR 2026, arXiv 2603.02945; as the authors' code has it
    (github.com/unravel-xu/ACE-Merging, src/merge/strategy.py).

    Args:
        epsilon: added to each covariance's eigenvalues
        threshold: heterogeneity above which covariances are normalised and the merge refined
        refined: share of the singular triplets that refine the merge
    """

    def __init__(self, epsilon: float = 0.01, threshold: float = 0.3, refined: float = 0.3) -> None: ...

class ACTMat(_ACTMat):
    """Estimate what each layer's inputs look like from the update they caused, and regress as RegMean does.

    Law: ``tau = (sum_t tau_t C_t)(sum_t C_t)^+`` with ``C_t = tau_t^T tau_t``, which minimises
    ``sum_t tr((tau - tau_t) C_t (tau - tau_t)^T)``; of several minimisers, the smallest. `wudi` is the same with
    ``C_t / tr(C_t)``: here a task counts by the square of its update's size.

    Source: Gamal Abdel Hameed et al. 2026, Model merging via data-free covariance estimation, arXiv 2604.01329; as
    the authors' code has it (github.com/marawangamal/actmat, src/merging.py).
    """

    def __init__(self) -> None: ...

class AdaMerging(_AdaMerging):
    """Add the task vectors, each times a coefficient that an `adapt:` section learns on unlabelled data.

    Law: ``tau = sum_t lambda_t w_t tau_t``, one coefficient per task, or per task and layer. With ``density`` it is
    AdaMerging++: ``tau_t`` is trimmed to its largest entries, and those without the elected sign are zero.

    Source: Yang et al. 2024, AdaMerging, arXiv 2310.02575, section 3.2.

    Args:
        density: share of entries kept in each task vector (AdaMerging++); or all
    """

    def __init__(self, density: float | None = None) -> None: ...

class ArceeFusion(_ArceeFusion):
    """Move those entries of the base to one other model's that matter far more than most.

    Law, tensor by tensor: ``tau = tau_1`` where an entry's importance is at least ``median + 1.5 (q3 - q1)``, the
    quartiles of all importances; zero elsewhere. The importance is ``|tau_1|`` times the divergence
    ``sum p log(p / q)`` of its row, with ``p`` and ``q`` the softmax of the model's and of the base's row, 1e-8 added.
    Quartiles are exact: the entries at places ``floor(q (n - 1))`` in order.

    Source: Arcee fusion, in MergeKit, arXiv 2403.13257.
    """

    def __init__(self) -> None: ...

class Average(_Average):
    """Mean of the models' weights, or their weighted sum.

    Law: ``W = sum_t w_t W_t / sum_t w_t``, which is ``tau = sum_t w_t tau_t / sum_t w_t`` at scale 1. With
    ``normalize: false``, ``W = sum_t w_t W_t``, which is ``tau = sum_t w_t tau_t + (sum_t w_t - 1) W_0``.

    Source: Wortsman et al. 2022, Model soups, arXiv 2203.05482.

    Args:
        normalize: divide by the sum of the weights
    """

    def __init__(self, normalize: bool = True) -> None: ...

class Breadcrumbs(_Breadcrumbs):
    """Leave out each task vector's outliers and its small entries, and add what is left.

    Law, tensor by tensor: ``tau = sum_t w_t (m_t * tau_t)``. The mask ``m_t`` leaves out the share ``gamma`` of entries
    of largest magnitude, then the smallest, until the share ``density`` is left; where both shares together exceed
    one, fewer of the largest are left out. Entries that tie with the last ones kept are kept. With ``normalize``, it is
    divided by ``sum_t w_t``.

    Source: Davari and Belilovsky 2023, Model breadcrumbs, arXiv 2312.06795, section 3.

    Args:
        density: share of entries kept in each task vector
        gamma: share of largest entries left out of each
        rescale: multiply what is kept so that its magnitudes add up to what they did before
        normalize: divide by the sum of the weights
    """

    def __init__(
        self, density: float = 0.1, gamma: float = 0.01, rescale: bool = False, normalize: bool = False
    ) -> None: ...

class BreadcrumbsTies(_BreadcrumbsTies):
    """Leave out each task vector's outliers and its small entries, elect a sign, and add what agrees.

    Law, tensor by tensor: ``tau = sum_A w_t (m_t * tau_t)`` with the masks ``m_t`` of `breadcrumbs`, over the set ``A``
    of tasks whose term has the sign of ``sum_t w_t (m_t * tau_t)``; zero where that sum is zero. What agrees is
    added, not averaged as in `ties`: a weight multiplies its task vector. With ``normalize`` it is divided by
    ``sum_A w_t``.

    Source: Davari and Belilovsky 2023, Model breadcrumbs, arXiv 2312.06795, section 3; Yadav et al. 2023, TIES-
    merging, arXiv 2306.01708; their combination as in MergeKit, arXiv 2403.13257.

    Args:
        density: share of entries kept in each task vector
        gamma: share of largest entries left out of each
        rescale: multiply what is kept so that its magnitudes add up to what they did before
        normalize: average what agrees, which weights are shares of; false adds it, times the weights
    """

    def __init__(
        self, density: float = 0.1, gamma: float = 0.01, rescale: bool = False, normalize: bool = False
    ) -> None: ...

class CTMerging(_CTMerging):
    """Take directions that many tasks use once, keep what each task has beside them, and even out each task's strength.

    Law: ``U_c`` the leading ``common`` eigenvectors of ``sum_t U_t U_t^T``, ``mean_t U_c^T tau_t = P diag(D) Q^T`` over
    the tasks that changed the matrix, ``E_t = (I - U_c U_c^T) U_t``, and
    ``tau = polar([U_c P | E_1 | ... | E_T]) diag(a_c, a_1, ..., a_T) polar([Q | V_1 | ... | V_T])^T``, where ``a_c``
    is the root mean square of ``D`` for every common direction, ``a_t`` that of ``S_t`` for every one of task t.

    Source: Ryum and Kang 2026, CT-Merging, arXiv 2607.20561, Algorithm 1; of the paper itself only the abstract was
    found.

    Args:
        common: directions of the common part
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (smaller side / number of
            tasks; an adapter's own rank)
    """

    def __init__(self, common: int = 4, rank: int | float | Literal["auto"] = "auto") -> None: ...

class CoreSpace(_CoreSpace):
    """Change adapters to the bases that their factors span together, merge there, and go back: nothing is lost.

    Law: ``[B_1 | ... | B_T] = U D P^T``, ``[A_1^T | ... | A_T^T] = V E Q^T``, ``M_t = U^T tau_t V``,
    ``tau = U combine_t(M_t) V^T``. ``ties`` and ``tsv_m`` merge the ``M_t`` as these methods merge matrices; ``sum``
    adds them, which is `task_arithmetic`, the control. ``isotropic`` then gives the result one singular value, the
    mean of its own, as `iso_c` does. Where any model is not an adapter, task vectors take the place of factors.

    Source: Panariello et al. 2025, Core Space merging, NeurIPS 2025, arXiv 2509.17786, section 4.

    Args:
        combine: how the core matrices are merged
        density: share of each core matrix's entries that is kept, for ties
        isotropic: whether the merge gets one singular value for all directions
    """

    def __init__(
        self, combine: Literal["ties", "tsv_m", "sum"] = "tsv_m", density: float = 0.1, isotropic: bool = True
    ) -> None: ...

class DCMerge(_DCMerge):
    """Smooth each task's spectrum, then merge the tasks' coordinates inside their shared subspace.

    Law: ``tau = U M V^T`` with ``U``, ``V`` the shared subspace, ``M = combine_t M_t`` and
    ``M_t = U^T U_t diag(smooth(S_t)) V_t^T V``; ``block_mask`` keeps only the tasks' diagonal blocks of ``M``.

    Adapters and full models differ as they do in the authors' code: ``smoothing: auto`` evens out the singular values
    of adapters alone, and ``keep`` is a share of the ``r * r`` coordinates for adapters, of ``min(m, n)^2`` for full
    models. A matrix that adapters and full models change together counts as that of full models.

    Source: DC-Merge, CVPR 2026, arXiv 2603.06242.

    Args:
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (smaller side / number of
            tasks; an adapter's own rank)
        smoothing: how a task's singular values are evened out; auto: average for adapters, none for others
        rho: largest ratio of first to last singular value, for linear
        keep: share of entries each task keeps, for ties: of the r*r coordinates of adapters, and of min(m, n)^2 for
            full models
        combine: how the tasks' coordinates are merged
        block_mask: keep only each task's own diagonal block
    """

    def __init__(
        self,
        rank: int | float | Literal["auto"] = "auto",
        smoothing: Literal["auto", "none", "average", "linear"] = "auto",
        rho: float = 5.0,
        keep: float = 0.001,
        combine: Literal["ties", "sum", "mean"] = "ties",
        block_mask: bool = True,
    ) -> None: ...

class Dare(_Dare):
    """Drop each entry of each task vector at random, rescale those that stay, and add.

    Law: ``tau = sum_t w_t (m_t * tau_t) / density``, the entries of ``m_t`` one with probability ``density`` and
    zero otherwise; its expectation is the sum of the task vectors. The recipe's ``seed`` decides the ``m_t``. With
    ``normalize``, it is divided by ``sum_t w_t``.

    Source: Yu et al. 2024, Language models are super Mario, arXiv 2311.03099, section 3.2.

    Args:
        density: probability that an entry of a task vector is kept
        rescale: divide each kept entry by its probability; l1: multiply all alike, so that their magnitudes add up
            to what they did before; false: neither
        normalize: divide by the sum of the weights
    """

    def __init__(self, density: float = 0.1, rescale: bool | Literal["l1"] = True, normalize: bool = False) -> None: ...

class DareTies(_DareTies):
    """Drop each entry of each task vector at random, rescale those that stay, then elect and average as TIES does.

    Law: ``tau_t' = (m_t * tau_t) / density``, the entries of ``m_t`` one with probability ``density``; then
    ``tau = sum_A w_t tau_t' / sum_A w_t`` over the set ``A`` of tasks whose entry has the sign of
    ``sum_t w_t tau_t'``, zero where that sum is zero. With ``normalize: false`` the weights multiply before the
    election, and what agrees is added: ``tau = sum_A w_t tau_t'``. The drop replaces the trimming of TIES, which would
    find nothing left to trim where ``density`` is below the share that it keeps.

    Source: Yu et al. 2024, Language models are super Mario, arXiv 2311.03099, sections 3.2 and 3.3; Yadav et al.
    2023, TIES-merging, arXiv 2306.01708.

    Args:
        density: probability that an entry of a task vector is kept
        rescale: divide each kept entry by its probability; l1: multiply all alike, so that their magnitudes add up
            to what they did before; false: neither
        normalize: average what agrees, which weights are shares of; false adds it, times the weights
    """

    def __init__(self, density: float = 0.1, rescale: bool | Literal["l1"] = True, normalize: bool = True) -> None: ...

class Della(_Della):
    """Drop entries at random, small ones more often than large ones, then elect and average as TIES does.

    Law: ``tau_t' = m_t * tau_t / p_t``, the entries of ``m_t`` one with the probabilities ``p_t``, which rise within a
    row evenly with the rank of an entry's magnitude, from ``density - epsilon`` to ``density + epsilon``; then
    ``tau = sum_A w_t tau_t' / sum_A w_t`` over the set ``A`` of tasks whose entry has the sign of
    ``sum_t w_t tau_t'``, zero where that sum is zero. With ``normalize: false`` the weights multiply before the
    election, and what agrees is added: ``tau = sum_A w_t tau_t'``.

    Source: Deep et al. 2024, DELLA-Merging, arXiv 2406.11617, section 3.

    Args:
        density: probability that an entry of a task vector is kept
        epsilon: how far the probabilities of a row's entries lie from density
        rescale: divide each kept entry by its probability; l1: multiply all alike, so that their magnitudes add up
            to what they did before; false: neither
        normalize: average what agrees, which weights are shares of; false adds it, times the weights
    """

    def __init__(
        self, density: float = 0.5, epsilon: float = 0.15, rescale: bool | Literal["l1"] = True, normalize: bool = True
    ) -> None: ...

class DellaLinear(_DellaLinear):
    """Drop entries at random, small ones more often than large ones, rescale each that stays, and add.

    Law: ``tau = sum_t w_t (m_t * tau_t / p_t)``, the entries of ``m_t`` one with the probabilities ``p_t`` and zero
    otherwise; its expectation is the sum of the task vectors. Within a row ``p_t`` rises evenly with the rank of an
    entry's magnitude, from ``density - epsilon`` to ``density + epsilon``. The recipe's ``seed`` decides the ``m_t``.
    With ``normalize``, it is divided by ``sum_t w_t``.

    Source: Deep et al. 2024, DELLA-Merging, arXiv 2406.11617, section 3.1.

    Args:
        density: probability that an entry of a task vector is kept
        epsilon: how far the probabilities of a row's entries lie from density
        rescale: divide each kept entry by its probability; l1: multiply all alike, so that their magnitudes add up
            to what they did before; false: neither
        normalize: divide by the sum of the weights
    """

    def __init__(
        self, density: float = 0.5, epsilon: float = 0.15, rescale: bool | Literal["l1"] = True, normalize: bool = False
    ) -> None: ...

class ESM(_ESM):
    """Keep the part of each task vector that shows in its layer's outputs, decorrelate, and favour strong parts.

    Law: P_t are the leading ``rank`` principal components of the activation shifts ``X_t tau_t^T``, the eigenvectors
    of ``tau_t G_t tau_t^T``, and ``A_t = P_t^T tau_t``. Polarised scaling multiplies each A_t by its Frobenius norm
    over their mean, to the ``power``, then each column of ``A = [A_1; ...; A_T]`` likewise. With polar factors in
    place of ``P = [P_1 | ... | P_T]`` and of A, each times its mean singular value, ``tau = b P A``. In a whole model
    b is the norm of ``P A`` over the mean of the layers of its type, to the ``power``; for a matrix by itself it is 1.

    The paper's summary leaves the size of the polar factors open; the mean singular value is that of the authors'
    published script, and without it the norms of layers would not differ. Choices: components are uncentred, as there;
    its constant factor 2 is left to ``scale``; norms are those of the truncated A_t; means leave out singular values of
    zero and tasks that did not change the matrix; layers whose names differ only in numbers are of one type.

    Source: Li et al. 2026, Model merging in the essential subspace, arXiv 2602.20208.

    Args:
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (outputs / number of
            tasks)
        power: exponent of the three scalings by relative norm; 0 leaves them out
    """

    def __init__(self, rank: int | float | Literal["auto"] = "auto", power: float = 2.0) -> None: ...

class Fisher(_Fisher):
    """Mean of the models, each entry weighed by each model's diagonal Fisher information of it.

    Law: ``W = sum_t w_t f_t * W_t / sum_t w_t f_t``, entry by entry, with ``f_t = max(F_t / ||F_t||, floor)`` and
    ``F_t = E_x E_{y ~ p_t(y | x)} (d log p_t(y | x) / d W_t)^2``. It is the most probable model where each posterior is
    a Gaussian with its Fisher information as precision. The base is common, so task vectors can replace the weights.
    ``||F_t||`` is the L2 norm over the whole model; with ``normalize: false`` it is 1. Choice: the floor applies after
    normalisation, so that it does not depend on the size of the model's gradients.

    Source: Matena and Raffel 2022, Merging models with Fisher-weighted averaging, arXiv 2111.09832.

    Args:
        normalize: divide each model's information by its L2 norm
        floor: the least information that an entry has
    """

    def __init__(self, normalize: bool = True, floor: float = 1e-06) -> None: ...

class IsoC(_IsoC):
    """Sum the task vectors and give every direction of the sum the same strength.

    Law: ``sum_t tau_t = P D Q^T``, ``tau = mean(D) P Q^T``. Directions of zero singular value are left
    out of both, so a sum of adapters keeps its low rank.

    Source: Marczak et al. 2025, No task left behind, arXiv 2502.04959.
    """

    def __init__(self) -> None: ...

class IsoCTS(_IsoCTS):
    """Keep the leading directions of the sum, and fill the rest of the rank with directions of each single task.

    Law: ``P_c``, ``Q_c`` the top-c directions of ``sum_t tau_t``; ``P_t``, ``Q_t`` the top-s ones of
    ``(I - P_c P_c^T) tau_t``; ``tau = mean(D) polar([P_1 ... P_T | P_c]) polar([Q_1 ... Q_T | Q_c])^T``,
    ``D`` all the singular values taken. ``c + T s`` is the total rank: ``T s`` is the part that is not
    common, rounded to a multiple of T.

    Source: Marczak et al. 2025, No task left behind, arXiv 2502.04959, section 4.3.

    Args:
        common: share of the rank that the common subspace takes
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (smaller side / number of
            tasks; an adapter's own rank)
    """

    def __init__(self, common: float = 0.8, rank: int | float | Literal["auto"] = "auto") -> None: ...

class Karcher(_Karcher):
    """Average the directions of the models' weights along the sphere, and their lengths apart, tensor by tensor.

    Law: ``W = mean_t(|W_t|) x`` and ``tau = W - W_0``, each tensor taken as one vector; the unit vector ``x`` minimises
    the sum of squared angles to ``u_t = W_t / |W_t|``. It starts at the mean of the ``u_t``, and moves along the arc of
    ``v = mean_t(theta_t (u_t - cos(theta_t) x) / sin(theta_t))``, with ``theta_t`` the angle between ``u_t`` and
    ``x``, for ``max_iter`` steps or until ``|v|`` is below ``tol``. Weights of zeros have no direction, and a direction
    opposite to ``x`` is left out of the step; where the ``u_t`` cancel, it starts at the first.

    Source: Karcher 1977, Riemannian center of mass and mollifier smoothing; of models as in arXiv 2603.04972.

    Args:
        max_iter: largest number of steps
        tol: length of a step, in radians, below which it ends
    """

    def __init__(self, max_iter: int = 10, tol: float = 1e-05) -> None: ...

class Knots(_Knots):
    """Decompose the task vectors side by side, and merge their coordinates instead of their entries.

    Law: ``[tau_1 | ... | tau_T] = P D [Q_1 | ... | Q_T]^T``, ``tau = P combine_t(D Q_t^T)``, where ``D Q_t^T`` is
    ``P^T tau_t``. ``ties`` keeps the largest entries of each, elects a sign for each entry and averages the tasks
    that agree; ``sum`` adds, which gives the plain sum of the task vectors, the control.

    Source: Stoica et al. 2025, Model merging with SVD to tie the knots, arXiv 2410.19735, section 4.

    Args:
        combine: how the tasks' coordinates are merged
        density: share of each task's coordinates that is kept, for ties
    """

    def __init__(self, combine: Literal["ties", "sum"] = "ties", density: float = 0.2) -> None: ...

class MDA(_MDA):
    """Align the tasks' shared directions with a simplex equiangular tight frame.

    Law: ``tau = M M^T U diag(S_1, ..., S_T) V^T``, with ``M = sqrt(K/(K-1)) P (I - 11^T/K)`` and
    ``U``, ``V`` the shared subspace of `tsv_m`. The paper leaves the frame open; ``simplex`` chooses:
    ``directions`` has ``P = U``, a vertex for each shared direction (so the sign rule matters); ``tasks`` a
    vertex for each task, which removes what tasks have in common, all of it where they are equal;
    ``neurons`` has ``P = I``, a vertex for each output unit; ``random`` a random basis of the outputs in its place,
    drawn from the recipe's seed: the control for whether the frame matters; ``none`` skips the step, which gives
    `tsv_m`.

    The paper leaves the subspace open too: its reviews speak of left vectors only. ``sides: left`` keeps the right
    vectors as they are, ``V = [V_1 | ... | V_T]``; ``subspace: svd`` the left ones as well, and its frame has the
    leading left singular vectors of ``[U_1 | ... | U_T]`` for ``P``.

    Source: Model merging via directional alignment (MDA), arXiv 2512.00391, section 4.1, Algorithm 1.

    Args:
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (smaller side / number of
            tasks; an adapter's own rank)
        simplex: what the vertices of the frame stand for
        sides: which sides' directions are decorrelated
        subspace: the nearest orthonormal directions, or all directions as they are (svd, which decorrelates neither
            side)
    """

    def __init__(
        self,
        rank: int | float | Literal["auto"] = "auto",
        simplex: Literal["directions", "tasks", "neurons", "random", "none"] = "directions",
        sides: Literal["both", "left"] = "both",
        subspace: Literal["polar", "svd"] = "polar",
    ) -> None: ...

class Magmax(_Magmax):
    """For each entry, the task that moves it furthest decides.

    Law: ``tau = w_t tau_t``, entry by entry, with the ``t`` of largest ``|w_t tau_t|``; of two equally far in opposite
    directions, the positive one.

    Source: Marczak et al. 2024, MagMax, arXiv 2407.06322, section 4.
    """

    def __init__(self) -> None: ...

class MagnitudePrune(_MagnitudePrune):
    """Keep each task vector's largest entries, and add what is left.

    Law, tensor by tensor: ``tau = sum_t w_t trim(tau_t)``, where ``trim`` zeroes all but the share ``density`` of
    entries of largest magnitude. Entries that tie with the smallest one kept are all kept.

    Source: PEFT, add_weighted_adapter with magnitude_prune_svd; the trimming of arXiv 2306.01708.

    Args:
        density: share of entries kept in each task vector
    """

    def __init__(self, density: float = 0.2) -> None: ...

class ModelStock(_ModelStock):
    """Shrink the mean task vector by how far apart the task vectors point, tensor by tensor or row by row.

    Law: ``tau = t mean_t(tau_t)`` with ``t = N cos / (1 + (N - 1) cos)`` and ``cos`` the mean cosine between two of
    the N task vectors: the point nearest to the centre of the shell on which fine-tuned weights lie. ``filter_wise``
    gives each row of outputs a ratio. Choices: a negative cosine counts as 0 (``clamp``); a task vector of zeros, or a
    row of zeros, is left out of N, cosine and mean (``skip_zeros``; else its cosines are 0); tensors of fewer than two
    dimensions have one ratio.

    Source: Jang et al. 2024, Model Stock: all we need is just a few fine-tuned models, arXiv 2403.19522.

    Args:
        filter_wise: one ratio for each row of outputs, in place of one for the tensor
        clamp: count a negative mean cosine as 0; false goes past the base, as MergeKit does
        skip_zeros: leave out task vectors or rows of zeros; false takes them for orthogonal to all others
    """

    def __init__(self, filter_wise: bool = False, clamp: bool = True, skip_zeros: bool = True) -> None: ...

class Multislerp(_Multislerp):
    """Average the directions of the task vectors and their lengths apart, tensor by tensor.

    Law: ``tau = L m / |m|`` with the mean direction ``m = sum_t a_t tau_t / |tau_t|``, the mean length
    ``L = sum_t a_t |tau_t|`` and the shares ``a_t = w_t / sum_s w_s``; without ``normalize_weights``, ``a_t = w_t``.
    The published form takes a step on the sphere from ``m / |m|`` along the weighted sum of the directions' parts
    orthogonal to it; that sum is zero by the choice of ``m``. Where ``m`` is shorter than ``eps``, and so has no
    direction, ``tau = sum_t a_t tau_t``. Task vectors of zeros have a length but no direction.
    With ``origin: zero``, the weights ``W_t`` take the place of the task vectors, and ``tau = W - W_0``.

    Source: Goddard 2024, Multi-SLERP, https://goddard.blog/posts/multislerp-wow-what-a-cool-idea; in MergeKit,
    arXiv 2403.13257.

    Args:
        normalize_weights: divide the weights by their sum
        eps: length below which the mean of unit vectors has no direction
        origin: measure from the base, or from zero: merge the weights themselves
    """

    def __init__(
        self, normalize_weights: bool = True, eps: float = 1e-08, origin: Literal["base", "zero"] = "base"
    ) -> None: ...

class Nearswap(_Nearswap):
    """Move each entry of the base towards one other model's, but by no more than ``t``.

    Law: ``tau = min(1, t / |w tau_1|) w tau_1``, entry by entry, which is ``w tau_1`` clamped to -t and t: entries that
    differ by less are swapped, the others move by ``t``.

    Source: alchemonaut 2024, https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001; in MergeKit, arXiv
    2403.13257.

    Args:
        t: how far an entry may move
    """

    def __init__(self, t: float = 0.0001) -> None: ...

class Nuslerp(_Nuslerp):
    """Interpolate between two task vectors along the arc between them, as one vector each or vector by vector.

    Law: with ``t = w_2 / (w_1 + w_2)`` and ``omega`` the angle between ``tau_1`` and ``tau_2``,
    ``tau = (sin((1 - t) omega) tau_1 + sin(t omega) tau_2) / sin(omega)``, each tensor taken as one vector. With
    ``flatten: false`` each row of a matrix (what leads to one output) is a vector with an angle of its own; with
    ``row_wise`` too, each column is, as in MergeKit, whose option of that name runs along the outputs. Where one vector
    is zero, or two are parallel or opposite to within 1e-6, it is ``(1 - t) tau_1 + t tau_2``. With ``origin: zero``,
    the weights ``W_1`` and ``W_2`` take the place of ``tau_1`` and ``tau_2``, and ``tau = W - W_0``.

    Source: Shoemake 1985, Animating rotation with quaternion curves; of task vectors as in MergeKit, arXiv 2403.13257.

    Args:
        row_wise: with flatten: false, a vector per column in place of one per row
        flatten: take each tensor as one vector
        origin: measure from the base, or from zero: merge the weights themselves
    """

    def __init__(
        self, row_wise: bool = False, flatten: bool = True, origin: Literal["base", "zero"] = "base"
    ) -> None: ...

class OwnBlocks(_OwnBlocks):
    """Keep only what each task does between its own directions of a basis that all tasks share.

    Law: ``tau = sum_t P_t P_t^T U_t diag(S_t) V_t^T Q_t Q_t^T``, with ``P_t``, ``Q_t`` task t's columns of the shared
    subspace ``polar([U_1 | ... | U_T])``, ``polar([V_1 | ... | V_T])``. The further the shared subspace bends
    a direction away from its task, the less it counts: `tsv_m` keeps all of ``S_t``, while here what tasks compete
    for is damped on both sides, so that the sum needs no scale. Orthogonal tasks lose nothing; N equal ones keep 1/N.

    Tables of embeddings merge by `rows` unless the recipe says otherwise.

    Source: ours, after the blocks of DC-Merge (arXiv 2603.06242); docs/own-blocks.md.

    Args:
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (smaller side / number of
            tasks; an adapter's own rank)
    """

    def __init__(self, rank: int | float | Literal["auto"] = "auto") -> None: ...

class PCB(_PCB):
    """Average the task vectors entry by entry, by how much an entry matters to its task and agrees with the others.

    Law, tensor by tensor, with ``x_ij = tau_i * tau_j`` over its largest magnitude, for N tasks and softmaxes over the
    entries: ``beta_i = softmax(N x_ii) * sum_j softmax(x_ij)``. The share ``density`` of largest ``beta_i`` is kept for
    each task, and ``tau = sum_i beta_i tau_i / sum_i beta_i`` over those kept; zero where none is. A model's weight
    multiplies its task vector first. Choices: products are divided by their largest magnitude, since the paper's norm
    is not defined there; scores are per tensor; entries of zero are not kept; those that tie at the threshold all are.

    Source: Du et al. 2024, Parameter competition balancing for model merging, arXiv 2410.02396, section 3.

    Args:
        density: share of entries kept in each task vector
    """

    def __init__(self, density: float = 0.1) -> None: ...

class Passthrough(_Passthrough):
    """Copy the weights of one model, times a number; a stack of layers makes it a self-merge.

    Law: ``W = s (W_0 + tau)``, which is ``tau' = s tau + (s - 1) W_0`` at scale 1. Where the recipe names no base, the
    model is its own, and at ``s = 1`` every tensor is copied bit by bit.

    Source: Kim et al. 2023, SOLAR 10.7B: depth up-scaling, arXiv 2312.15166; mergekit's passthrough.

    Args:
        scale: what the weights are multiplied by; 0 empties a tensor
    """

    def __init__(self, scale: float = 1.0) -> None: ...

class Ram(_Ram):
    """Average each entry over the tasks that changed it.

    Law: ``tau = sum_A w_t tau_t / |A|``, entry by entry, over the set ``A`` of tasks with ``|w_t tau_t| > epsilon``;
    zero where there is none.

    Source: Reinforced agent merging (RAM), arXiv 2601.13572.

    Args:
        epsilon: largest magnitude that counts as unchanged
    """

    def __init__(self, epsilon: float = 1e-05) -> None: ...

class RamplusTL(_RamplusTL):
    """Average each entry over the tasks that changed it, and amplify what one task alone changed.

    Law, tensor by tensor: where at least two tasks have ``|w_t tau_t| > epsilon``, their mean; where one has,
    ``(1 + r min(rho_t, alpha)) w_t tau_t``, with ``rho_t`` the number of entries that task t shares with others over
    the number that are its own; where none has, zero.

    Source: Reinforced agent merging (RAM), arXiv 2601.13572; per tensor as in MergeKit.

    Args:
        r: how strongly a task's own entries are amplified
        alpha: largest ratio of shared to own entries that counts
        epsilon: largest magnitude that counts as unchanged
    """

    def __init__(self, r: float = 0.1, alpha: float = 0.2, epsilon: float = 1e-05) -> None: ...

class ReForge(_ReForge):
    """Refine another method's merge by regression, which changes it most where the task vectors say most.

    Law: ``tau = (sum_t tau_t G_t + b tau_a)(sum_t G_t + b I)^{-1}``, the minimiser of
    ``sum_t tr((tau - tau_t) G_t (tau - tau_t)^T) + b ||tau - tau_a||_F^2``: the mean of a Bayesian linear regression
    whose prior is the anchor ``tau_a``. Without data, the Gram matrix ``G_t`` is estimated from the task vector.
    Choices, for what the paper leaves to a search per layer on validation inputs, or where its text was not to be had:
    ``G_t = tau_t^T tau_t / ||tau_t||_F^2``, and ``b`` is ``ridge`` times the mean eigenvalue of ``sum_t G_t``, which is
    the number of task vectors over the number of inputs.

    Source: Li et al. 2026, Bayesian model merging (later ReForge: refining merged models with anchor-regularized
    regression), arXiv 2605.12843, section 4 without its search.

    Args:
        anchor: the method whose merge is refined
        ridge: how strongly the anchor holds, in mean eigenvalues of the moments
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (smaller side / number of
            tasks; an adapter's own rank)
    """

    def __init__(
        self,
        anchor: Literal["tsv_m", "iso_c", "own_blocks", "task_arithmetic"] = "tsv_m",
        ridge: float = 1.0,
        rank: int | float | Literal["auto"] = "auto",
    ) -> None: ...

class RegMean(_RegMean):
    """Change each model's outputs on its own unlabelled inputs as little as possible, layer by layer.

    Law: ``W = (sum_t w_t W_t G_t)(sum_t w_t G_t)^+`` with ``G_t = X_t^T X_t / rows``, which minimises
    ``sum_t w_t ||X_t W^T - X_t W_t^T||_F^2 / rows``. The base is common, so task vectors can replace the weights:
    ``tau = (sum_t w_t tau_t G_t)(sum_t w_t G_t)^+``. Off-diagonal entries of G_t are first multiplied by
    ``shrinkage``, the paper's alpha. Choices: the base's weights stay in directions that no input has (the smallest
    minimiser); a model's weight multiplies the number of its inputs.

    Source: Jin et al. 2023, Dataless knowledge fusion (RegMean), arXiv 2212.09849, section 3.

    Args:
        shrinkage: factor of the moments' off-diagonal entries
    """

    def __init__(self, shrinkage: float = 0.9) -> None: ...

class RegMeanPlusPlus(_RegMeanPlusPlus):
    """Change each model's outputs as little as possible on the inputs that the merged model gives it, layer by layer.

    Law: that of `regmean`, ``tau = (sum_t w_t tau_t G_t)(sum_t w_t G_t)^+``. The inputs ``X_t`` of a layer's matrices
    are what they receive when model ``t``'s own layer follows the merged embeddings and layers before it, where
    `regmean` runs model ``t`` alone. So layers are merged one after another, and the models run once for each.

    Source: Nguyen et al. 2025, RegMean++, arXiv 2508.03121.

    Args:
        shrinkage: factor of the moments' off-diagonal entries
    """

    def __init__(self, shrinkage: float = 0.9) -> None: ...

class Rows(_Rows):
    """Merge a table row by row, as suits a table of word embeddings; average everything else.

    A row of such a table acts only on inputs that hold its token. Fine-tunes on different texts change different
    rows, so averaging needlessly divides most of what each has learned by the number of tasks.

    Law, for row i of a matrix, ``tau_t[i]`` times the model's weight: where every task has changed the row,
    ``tau[i] = mean_t tau_t[i]``; else ``tau[i] = g_i sum_t tau_t[i]`` with
    ``g_i = min(1, sum_t |tau_t[i]|^2 / |sum_t tau_t[i]|^2)``, the factor at which the sum holds the tasks' changes,
    on average over them, once: 1 for orthogonal rows or those of one task, 1/N for N equal ones. Task vectors of any
    other shape are averaged.

    Weight decay shrinks every row ``w`` of the base by one factor, ``c_t``, and rounding moves it a little. With the
    base's weights at hand, ``c_t`` is fitted, and a task has changed a row where ``tau_t[i] + c_t w`` exceeds the noise
    of the others. Where some tasks have and others have not, the sum is that of the former's ``tau_t[i] + c_t w``, and
    the mean of all shrinkages is added.

    Source: ours, docs/own-blocks.md.
    """

    def __init__(self) -> None: ...

class SWUDI(_SWUDI):
    """Minimise `wudi`'s interference along the strongest input directions, and leave the sum as it is in the others.

    Law: with ``G = sum_t G_t = V diag(lambda) V^T`` and ``tau*`` the exact minimiser of `wudi`,
    ``tau = tau_0 + (tau* - tau_0) V diag(f) V^T`` from ``tau_0 = sum_t tau_t``. ``f`` is zero but for the ``keep``
    largest eigenvalues (a share of the inputs, rounded up). There ``filter: exponential`` is
    ``1 - exp(-time * lambda)``, where gradient descent from ``tau_0`` is after that time, and ``filter: none`` is one.

    The defaults are the paper's SWUDI. Its SWUDI-A is ``{keep: auto, filter: none}``: per matrix
    ``(sum sqrt(lambda))^2 / sum lambda`` directions, which leaves nothing to choose.

    Source: Wei et al. 2026, Closed-form spectral regularization for multi-task model merging, arXiv 2606.07289; as
    the authors' code has it (github.com/WalkerWorldPeace/MLLMerging).

    Args:
        keep: share of the input directions that are solved for, or auto: as many as the spectrum shows
        filter: how far the directions that are kept are solved for
        time: how long gradient descent would run, for exponential; eigenvalues add up to T
    """

    def __init__(
        self,
        keep: float | Literal["auto"] = 0.65,
        filter: Literal["exponential", "none"] = "exponential",
        time: float = 1300.0,
    ) -> None: ...

class Sce(_Sce):
    """Average the task vectors by their squared norms, on the entries where they differ most, signs elected.

    Law, tensor by tensor: of the entries where ``w_t tau_t`` differ between tasks, the share ``select_topk`` of largest
    variance is selected, and ``tau_t'`` is zero elsewhere. With the shares ``eta_t = |tau_t'|^2 / sum_s |tau_s'|^2``,
    ``tau = sum_A eta_t tau_t' / sum_A eta_t`` over the set ``A`` of tasks whose entry has the sign of
    ``sum_t tau_t'``; zero where that sum is zero. Entries that tie at the threshold are all selected. Where the mean
    squares of the entries of all ``tau_t'`` add up to less than ``uniform_below``, the shares are equal.

    Source: Wan et al. 2024, FuseChat, arXiv 2408.07990, section 3.3.

    Args:
        select_topk: share of entries selected by variance
        uniform_below: sum of mean squares below which all tasks have equal shares; 1e-6 in MergeKit
    """

    def __init__(self, select_topk: float = 1.0, uniform_below: float = 0.0) -> None: ...

class Slerp(_Slerp):
    """Interpolate between the weights of two models along the arc between them, tensor by tensor.

    Law: with ``omega`` the angle between ``W_1`` and ``W_2``, each tensor taken as one vector,
    ``W = (sin((1 - t) omega) W_1 + sin(t omega) W_2) / sin(omega)``, and ``tau = W - W_0``. Where one of the two is
    zero, or they are parallel or opposite to within 1e-6, or the cosine's magnitude exceeds ``dot_threshold``, it is
    ``W = (1 - t) W_1 + t W_2``.

    Source: Shoemake 1985, Animating rotation with quaternion curves; of models as in MergeKit, arXiv 2403.13257.

    Args:
        t: where on the arc: 0 is the first model, 1 the second
        dot_threshold: magnitude of the cosine above which a straight line replaces the arc
    """

    def __init__(self, t: float = 0.5, dot_threshold: float = 1.0) -> None: ...

class TSVM(_TSVM):
    """Put the tasks' leading directions side by side and decorrelate them.

    Law: ``tau = U diag(S_1, ..., S_T) V^T`` with ``U = polar([U_1 | ... | U_T])``, ``V`` likewise.

    Source: Gargiulo et al. 2025, Task singular vectors, arXiv 2412.00081.

    Args:
        rank: directions of each task: an integer, a fraction of the smaller side, or auto (smaller side / number of
            tasks; an adapter's own rank)
    """

    def __init__(self, rank: int | float | Literal["auto"] = "auto") -> None: ...

class TaskArithmetic(_TaskArithmetic):
    """Sum of the task vectors, which the recipe's ``scale`` multiplies.

    Law: ``tau = sum_t w_t tau_t``; with ``normalize``, divided by ``sum_t w_t``, which is `average`.

    Source: Ilharco et al. 2023, Editing models with task arithmetic, arXiv 2212.04089.

    Args:
        normalize: divide by the sum of the weights
    """

    def __init__(self, normalize: bool = False) -> None: ...

class Ties(_Ties):
    """Keep each task's largest entries, elect a sign for each entry, average the tasks that agree with it.

    Law, tensor by tensor: ``tau = sum_A w_t trim(tau_t) / sum_A w_t`` over the set ``A`` of tasks whose
    trimmed entry has the sign of ``sum_t w_t trim(tau_t)``; zero where that sum is zero. Entries that
    tie at the threshold are all kept. With ``normalize: false`` the weights multiply before the election, and what
    agrees is added: ``tau = sum_A w_t trim(tau_t)``. The paper trims over the whole model, this method per tensor.

    Source: Yadav et al. 2023, TIES-merging, arXiv 2306.01708.

    Args:
        density: share of entries kept in each task vector
        rescale: multiply what is kept so that its magnitudes add up to what they did before
        normalize: average what agrees, which weights are shares of; false adds it, times the weights
    """

    def __init__(self, density: float = 0.2, rescale: bool = False, normalize: bool = True) -> None: ...

class WUDI(_WUDI):
    """Take each task vector's rows as its layer's inputs, and disturb the outputs on them as little as possible.

    Law: ``tau`` minimises ``sum_t ||(tau - tau_t) tau_t^T||_F^2 / ||tau_t||_F^2``. ``solver: exact`` is its smallest
    minimiser, ``tau = (sum_t tau_t G_t)(sum_t G_t)^+`` with ``G_t = tau_t^T tau_t / ||tau_t||_F^2``; ``solver: adam``
    takes the published ``steps`` of Adam at ``learning_rate`` from ``sum_t tau_t``, which stop short of it.

    Source: Cheng et al. 2025, Whoever started the interference should end it, arXiv 2503.08099, section 4.

    Args:
        solver: the minimiser itself, or the published steps towards it
        steps: steps of adam
        learning_rate: rate of adam
    """

    def __init__(
        self, solver: Literal["exact", "adam"] = "exact", steps: int = 300, learning_rate: float = 1e-05
    ) -> None: ...
