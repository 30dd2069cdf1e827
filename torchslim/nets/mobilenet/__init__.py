"""MobileNet v2 and v3, and what they are made of: tables of operations, and blocks that expand and project."""

from torchslim.nets.mobilenet import conv_blocks, mobilenet, mobilenet_v2, mobilenet_v3

__all__ = ["conv_blocks", "mobilenet", "mobilenet_v2", "mobilenet_v3"]
