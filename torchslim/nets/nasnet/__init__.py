"""NASNet-A and PNASNet-5: networks of cells that a search has found."""

from torchslim.nets.nasnet import nasnet, nasnet_utils, pnasnet

__all__ = ["nasnet", "nasnet_utils", "pnasnet"]
