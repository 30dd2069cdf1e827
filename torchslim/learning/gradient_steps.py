"""What is done to the gradients of a step between the backward pass and the update, in TF-Slim's order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch

from torchslim.graph import Variable
from torchslim.graph.parts import like
from torchslim.learning.gradients import GradientTransform, Pair, clip_factors
from torchslim.learning.trained import tensor_of


class GradientSteps:
    """L2 terms, multipliers, clipping, then transforms, on the gradients as they are in `.grad`.

    Args:
        trained: the variables.
        l2: pairs of a tensor and the scale of its L2 term; those that are not trained do not matter.
        factors: position in `trained` -> what the gradient is multiplied by.
        clip_gradient_norm: L2 norm that no variable's gradient exceeds; 0: no clipping.
        transforms: each takes pairs of a gradient and its Variable, and gives such pairs; a variable that it leaves out
            is not updated.
    """

    def __init__(
        self,
        trained: Sequence[Variable],
        l2: Iterable[tuple[torch.Tensor, float]],
        factors: Mapping[int, float | torch.Tensor],
        clip_gradient_norm: float,
        transforms: Sequence[GradientTransform],
    ) -> None:
        self.transforms = list(transforms)
        self._trained = list(trained)
        self._parameters = [tensor_of(variable) for variable in trained]
        parameters = self._parameters
        self._factors = {parameters[i]: like(factor, parameters[i]) for i, factor in factors.items()}
        self._clip_gradient_norm = clip_gradient_norm
        own = {id(parameter) for parameter in self._parameters}
        self._l2: dict[float, list[torch.Tensor]] = defaultdict(list)
        for tensor, scale in l2:
            if id(tensor) in own:
                self._l2[scale].append(tensor)

    def __call__(self) -> None:
        """Does it; nothing waits for the device."""
        for scale, weights in self._l2.items():
            for weight in weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            torch._foreach_add_(_gradients(weights), weights, alpha=scale)
        for parameter, factor in self._factors.items():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        if self._clip_gradient_norm > 0:
            gradients = _gradients(self._parameters)
            torch._foreach_mul_(gradients, clip_factors(gradients, self._clip_gradient_norm))
        for transform in self.transforms:
            pairs = self.pairs()
            for parameter in self._parameters:
                parameter.grad = None
            for gradient, variable in transform(pairs):
                tensor_of(variable).grad = gradient

    def pairs(self) -> list[Pair]:
        """Each gradient and its variable."""
        return [(tensor_of(variable).grad, variable) for variable in self._trained]


def _gradients(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.grad for tensor in tensors if tensor.grad is not None]
