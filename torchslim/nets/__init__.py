"""Networks, under TF-Slim's names."""

from torchslim.nets import vgg

__all__ = ["vgg"]
