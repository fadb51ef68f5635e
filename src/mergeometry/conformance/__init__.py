"""The laws that every merge method must obey, as data: for this package's methods and for those of plug-ins.

    from mergeometry.conformance import CHECKS, check

    check(MyMethod(strength=0.5))           # raises AssertionError for the first law that is broken

    @pytest.mark.parametrize("law", CHECKS, ids=lambda law: law.name)
    def test_my_method(law):                # or one test for each law, in any framework
        law.run(MyMethod(strength=0.5))

A law applies only to what the method's own ``check`` accepts: shapes, numbers of models and weights that it
refuses are left out. Laws that differ between families are declared by the method and tested here:
``equal_models``, ``order_invariant``, ``homogeneous``.
"""

from __future__ import annotations

from mergeometry.conformance.law import Check
from mergeometry.conformance.laws import CHECKS, check

__all__ = ["CHECKS", "Check", "check"]
