"""Moving averages of weights, which often predict better than the weights themselves (arXiv:1409.3215 and others)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from torchslim.graph.parts import is_in_parts, local


class ExponentialMovingAverage:
    """Averages of tensors that forget: `average -= (1 - decay) * (average - value)`.

    TF-Slim: TensorFlow's `ExponentialMovingAverage`: an average starts at the value of its tensor, and `num_updates`
    lets it move faster at first: the decay is then `min(decay, (1 + n) / (10 + n))`.

    Args:
        tensors: what is averaged, by name.
        decay: the share of the average that is kept.

    Attributes:
        averages: name -> average.

    Raises:
        ValueError: if `decay` is not from 0 to 1.

    Example:
        >>> weight = torch.tensor([1.0])
        >>> average = slim.optimizers.ExponentialMovingAverage({'weight': weight}, decay=0.9)
        >>> _ = weight.fill_(2.0)
        >>> average.apply()
        >>> average.averages['weight']
        tensor([1.1000])
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], decay: float) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"ExponentialMovingAverage: `decay` must be from 0 to 1. Got {decay!r}.")
        self.decay = decay
        self._tensors = dict(tensors)
        self._in_parts = any(map(is_in_parts, tensors.values()))
        self.averages = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def apply(self, num_updates: int | None = None) -> None:
        """Moves the averages towards the present values of the tensors, without waiting for the device.

        Args:
            num_updates: `n` of the formula, e.g. the global step after the update; None: the decay as it is.
        """
        decay = self.decay if num_updates is None else min(self.decay, (1 + num_updates) / (10 + num_updates))
        averages, tensors = list(self.averages.values()), list(self._tensors.values())
        if self._in_parts:
            averages, tensors = [local(average) for average in averages], [local(tensor) for tensor in tensors]
        torch._foreach_lerp_(averages, tensors, 1 - decay)

    def pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each tensor and its average."""
        return [(tensor, self.averages[name]) for name, tensor in self._tensors.items()]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages, by name."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        Raises:
            ValueError: if it belongs to other tensors.
        """
        if state.keys() != self.averages.keys():
            raise ValueError(
                f"ExponentialMovingAverage: the state must have averages of {sorted(self.averages)}. Got averages of "
                f"{sorted(state)}."
            )
        with torch.no_grad():
            for name, value in state.items():
                self.averages[name].copy_(value)
