"""Drawings of models."""

from torchslim.diagrams.drawing import draw

__all__ = ["draw"]
