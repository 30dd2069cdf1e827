"""Images as sequences of their columns, and back."""

# Shape letters: N batch, C channels, H height, W width.

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.layers.base import check_choice
from torchslim.layers.incoming import scoped_data_format
from torchslim.layers.layer import layer


class ImagesToSequence(nn.Module):
    """The module of `slim.images_to_sequence`."""

    def __init__(self, data_format: str) -> None:
        super().__init__()
        self.data_format = data_format

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`[W, N * H, C]` of images."""
        order = (3, 0, 2, 1) if self.data_format == "NCHW" else (2, 0, 1, 3)
        return inputs.permute(order).flatten(1, 2)


class SequenceToImages(nn.Module):
    """The module of `slim.sequence_to_images`."""

    def __init__(self, height: int, data_format: str) -> None:
        super().__init__()
        self.height = height
        self.data_format = data_format

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Images of `[W, N * H, C]`."""
        order = (1, 3, 2, 0) if self.data_format == "NCHW" else (1, 2, 0, 3)
        return inputs.unflatten(1, (-1, self.height)).permute(order)


@add_arg_scope
@layer("ImagesToSequence", variables=False)
def images_to_sequence(
    inputs: Any, data_format: str | None = None, outputs_collections: Any = None, scope: str | None = None
) -> Any:
    """Makes each row of each image a sequence in the direction of the width (TF-Slim's `images_to_sequence`).

    Args:
        inputs: a Symbol or tensor `[N, C, H, W]` for `'NCHW'`, `[N, H, W, C]` for `'NHWC'`; or a number: then only the
            module is made.
        data_format: None: as the arg_scope says of any layer, else `'NCHW'`.
        outputs_collections: collections for the output.
        scope: its name; default `ImagesToSequence`, made unique.

    Returns:
        A Symbol or tensor `[W, N * H, C]`.

    Raises:
        ValueError: if `inputs` is not of rank 4, or `data_format` is unknown.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.images_to_sequence(torch.zeros(2, 3, 4, 5)).shape
        torch.Size([5, 8, 3])
    """
    data_format = data_format or scoped_data_format()
    check_choice("images_to_sequence", "data_format", data_format, ("NHWC", "NCHW"))
    inputs.check_rank("images_to_sequence", (4,))
    return ImagesToSequence(data_format)


@add_arg_scope
@layer("SequenceToImages", variables=False)
def sequence_to_images(
    inputs: Any,
    height: int,
    output_data_format: str | None = None,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """Puts sequences together to images (TF-Slim's `sequence_to_images`); undoes `images_to_sequence`.

    Args:
        inputs: a Symbol or tensor `[W, N * H, C]`; or a number: then only the module is made.
        height: H, the height of the images.
        output_data_format: `'channels_first'` or `'channels_last'`; None: as the arg_scope says of any layer's
            `data_format`, else channels first.
        outputs_collections: collections for the output.
        scope: its name; default `SequenceToImages`, made unique.

    Returns:
        A Symbol or tensor `[N, C, H, W]`, or `[N, H, W, C]`.

    Raises:
        ValueError: if `inputs` is not of rank 3, its second dimension not a multiple of `height`, or
            `output_data_format` unknown.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.sequence_to_images(torch.zeros(5, 8, 3), height=4).shape
        torch.Size([2, 3, 4, 5])
    """
    if output_data_format is None:
        output_data_format = "channels_last" if scoped_data_format() == "NHWC" else "channels_first"
    formats = {"channels_last": "NHWC", "channels_first": "NCHW"}
    check_choice("sequence_to_images", "output_data_format", output_data_format, tuple(formats))
    inputs.check_rank("sequence_to_images", (3,))
    count = None if inputs.shape is None else inputs.shape[1]
    if height < 1 or (count is not None and count % height):
        raise ValueError(
            f"sequence_to_images: the second dimension of `inputs` must be a multiple of `height`. Got {height} and "
            f"shape {inputs.shape}."
        )
    return SequenceToImages(height, formats[output_data_format])
