"""Imports torchvision where torch has no CUDA and the package index offers a build with it alone.

That build's operators cannot be loaded, and importing it fails at the two that Python refers to. They are declared
here; timm and open_clip take nothing but transforms from torchvision, and an operator that is called fails.
"""

from __future__ import annotations

import sys

import torch

try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", signature)
    import torchvision

__all__ = ["torchvision"]
