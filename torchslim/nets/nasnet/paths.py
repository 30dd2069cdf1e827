"""Paths that are dropped while training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.layers import layer


class DropPath(nn.Module):
    """The module of `drop_path`: `is_training=False` switches it off for good."""

    def __init__(self, keep_prob: float, is_training: bool | None) -> None:
        super().__init__()
        self.keep_prob = keep_prob
        self.is_training = is_training
        self.train()

    def train(self, mode: bool = True) -> DropPath:
        """Sets the mode, unless `is_training=False` was given."""
        return super().train(mode and self.is_training is not False)

    def forward(self, inputs: torch.Tensor, progress: torch.Tensor | None = None) -> torch.Tensor:
        """Drops some of the examples of `[N, ...]`."""
        if not self.training:
            return inputs
        keep_prob = self.keep_prob if progress is None else 1 - progress * (1 - self.keep_prob)
        kept = torch.rand([len(inputs), *[1] * (inputs.ndim - 1)], device=inputs.device) < keep_prob
        return inputs / keep_prob * kept


@add_arg_scope
@layer("drop_path", variables=False, beside=("progress",))
def drop_path(net: Any, keep_prob: float, is_training: bool | None = True, progress: Any = None) -> Any:
    """Sets all features of some of the examples to 0 while training, and scales the others up (arXiv:1605.07648).

    Args:
        net: features `[N, ...]`.
        keep_prob: probability of keeping those of an example.
        is_training: None or True: as the module's mode says, False: never.
        progress: from 0 to 1, a Symbol or tensor: 0 keeps all, 1 (also None) as many as `keep_prob` says.

    Returns:
        The features.

    Raises:
        ValueError: if `keep_prob` is not in (0, 1].

    Example:
        >>> sorted(drop_path(torch.ones(100, 2), 0.5).unique().tolist())
        [0.0, 2.0]
    """
    if not 0 < keep_prob <= 1:
        raise ValueError(f"drop_path: `keep_prob` must be in (0, 1]. Got {keep_prob}.")
    return DropPath(keep_prob, is_training)
