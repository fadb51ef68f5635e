"""What turns a task's inputs into features: transformers' models by kind, and plain PyTorch modules."""

from __future__ import annotations

from mergeometry.encoders.base import Batch, Encoder, Inputs
from mergeometry.encoders.build import build_encoder

__all__ = ["Batch", "Encoder", "Inputs", "build_encoder"]
