"""Layers without variables: flatten and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.layers.layer import layer


class Flatten(nn.Flatten):
    """The module of `slim.flatten`; a tensor of one dimension becomes a column."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, ...]`."""
        return inputs.unsqueeze(1) if inputs.ndim == 1 else super().forward(inputs)


@add_arg_scope
@layer("Flatten", variables=False)
def flatten(inputs: Any, outputs_collections: Any = None, scope: str | None = None) -> Any:
    """Flattens all dimensions but the batch (TF-Slim's `flatten`).

    TF-Slim: elements of channels-first images come in the order C, H, W instead of H, W, C; checkpoints are converted.

    Args:
        inputs: a Symbol or tensor `[N, ...]`, or a number: then only the module is made.
        outputs_collections: collections for the output.
        scope: its name; default `Flatten`, made unique.

    Returns:
        A Symbol or tensor `[N, features]`.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.flatten(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """
    return Flatten()


class Dropout(nn.Dropout):
    """The module of `slim.dropout`: `is_training=False` switches it off for good.

    Attributes:
        noise_shape: the shape of what is kept or dropped; 1 (or a missing batch size) broadcasts, None for that of the
            input.
    """

    def __init__(self, keep_prob: float, noise_shape: Sequence[int | None] | None, is_training: bool | None) -> None:
        super().__init__(1 - keep_prob)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.is_training = is_training
        self.train()

    def train(self, mode: bool = True) -> Dropout:
        """Sets the mode, unless `is_training=False` was given."""
        return super().train(mode and self.is_training is not False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer."""
        if self.noise_shape is None or not self.training:
            return functional.dropout(inputs, self.p, self.training)
        shape = [
            size if wanted is None else wanted for size, wanted in zip(inputs.shape, self.noise_shape, strict=True)
        ]
        return inputs * functional.dropout(inputs.new_ones(shape), self.p, True)


@add_arg_scope
@layer("Dropout")
def dropout(
    inputs: Any,
    keep_prob: float = 0.5,
    noise_shape: Sequence[int | None] | None = None,
    is_training: bool | None = True,
    outputs_collections: Any = None,
    scope: str | None = None,
    seed: int | None = None,
) -> Any:
    """Sets values to 0 at random while training, and scales the others up (TF-Slim's `dropout`).

    Args:
        inputs: a Symbol or tensor, or a number: then only the module is made.
        keep_prob: probability of keeping a value (PyTorch's `p` is `1 - keep_prob`).
        noise_shape: shape of the mask, to drop whole channels and the like; `None` in it: the size of the input.
        is_training: None or True: as the module's `train()` and `eval()` say. False: off, for good.
        outputs_collections: collections for the output.
        scope: its name; default `Dropout`, made unique.
        seed: refused: PyTorch draws from the generator of the device, so use `torch.manual_seed`.

    Returns:
        A Symbol or tensor of the shape of `inputs`.

    Raises:
        ValueError: if `keep_prob` is not in (0, 1], or a `seed` is given.

    Example:
        >>> import torch, torchslim as slim
        >>> sorted(slim.dropout(torch.ones(100), 0.5).unique().tolist())
        [0.0, 2.0]
    """
    if not 0 < keep_prob <= 1:
        raise ValueError(f"dropout: `keep_prob` must be in (0, 1]. Got {keep_prob}.")
    if seed is not None:
        raise ValueError(f"dropout: `seed` has no meaning here. Got {seed}; call `torch.manual_seed({seed})` instead.")
    return Dropout(keep_prob, noise_shape, is_training)
