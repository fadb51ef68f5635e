"""The refinements as editors and type checkers see them: written by `make stubs`, never by hand.

Each class stands for the one in the file that it is imported from, with its constructor written out.
"""

from typing import Literal

from mergeometry.refinements.norm import Norm as _Norm
from mergeometry.refinements.pico import Pico as _Pico
from mergeometry.refinements.svc import SVC as _SVC

class Norm(_Norm):
    """Give the merged matrix, layer by layer, the norm that its task vectors have.

    Law: ``tau' = factor * (target / ||tau||) tau`` in Frobenius norms. ``target: mean`` is the mean of ``||tau_t||``
    over the tasks that changed the matrix; ``root_sum_square`` is ``sqrt(sum_t ||tau_t||^2)``, the norm of the sum
    if no two task vectors overlapped. A merged matrix of zeros stays zero.

    Source: Li et al. 2025, MAGIC, arXiv 2512.19320, weight space calibration (target: mean).

    Args:
        target: which norm of the task vectors is matched
        factor: what the norm is multiplied by
    """

    def __init__(self, target: Literal["mean", "root_sum_square"] = "mean", factor: float = 1.0) -> None: ...

class Pico(_Pico):
    """Weaken the output directions that the tasks' B matrices crowd, merge, and give the merge its tasks' mean norm.

    Law: ``[B_1 | ... | B_T] = U diag(s) P^T``, ``c_i = s_i^2 / sum_j s_j^2``, ``alpha_i = 1 / (1 + (T - 1) c_i)``; the
    method gets ``tau_t' = (I + U diag(alpha - 1) U^T) tau_t`` in place of ``tau_t = B_t A_t``, and its merge ``tau``
    becomes ``(mean_t ||tau_t|| / ||tau||) tau``. ``T`` counts the tasks that changed the matrix. Where any is not
    an adapter, task vectors take the place of the B.

    Source: Tang and Yang 2026, Crowded in B-space, arXiv 2604.16826; of the paper itself only the abstract was
    found, the formulas are those of the authors' code, github.com/yixuantt/Pico.
    """

    def __init__(self) -> None: ...

class SVC(_SVC):
    """Rescale each singular value of the merged matrix by how much of every task's response it already holds.

    Law: ``tau = sum_r sigma_r u_r v_r^T``; the response of a task is ``a_r^t = u_r^T tau_t``, its share
    ``s_r^t = <sigma_r v_r, a_r^t> / ||a_r^t||^2``, and ``tau' = sum_r gamma_r sigma_r u_r v_r^T`` with
    ``gamma_r = T / sum_t max(alpha, s_r^t)``. A share above one means that the response was counted more than once. The
    directions stay; tasks that did not change the matrix are left out, and one with no response along ``u_r`` has the
    share zero. Equal singular values leave ``u_r`` open: it is then an eigenvector of ``sum_t tau_t tau_t^T``.

    Source: Li et al. 2026, When shared knowledge hurts, arXiv 2602.05536, Algorithm 1.

    Args:
        alpha: least share that a task is taken to have; auto is one over the number of tasks that take part
    """

    def __init__(self, alpha: float | Literal["auto"] = "auto") -> None: ...
