"""TensorFlow's optimizers that PyTorch's fused kernels can compute: gradient descent, momentum, Adam.

In the formulas, `w` is a weight and `g` its gradient; `t` counts the updates, from 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from torchslim.optimizers.formula import Formula, LearningRate, Tensors

# Where PyTorch has kernels that read and write each weight once.
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def fusable(weights: Tensors, *others: Sequence[torch.Tensor | None]) -> bool:
    """Whether a fused kernel can take these lists; it walks through all tensors in the order of memory."""
    return all(
        weight.device.type in FUSED_DEVICES
        and all(type(t) in (torch.Tensor, torch.nn.Parameter) and t.stride() == weight.stride() for t in tensors)
        for weight, *tensors in zip(weights, weights, *others, strict=True)
    )


@dataclass(frozen=True)
class GradientDescent(Formula):
    """Gradient descent: `w -= learning_rate * g`.

    TF-Slim: TensorFlow's `GradientDescentOptimizer`; the string `'SGD'` of `optimize_loss`.

    Args:
        learning_rate: a number, a tensor or a schedule.
        name: accepted for TensorFlow's sake; there are no slots that it could name.

    Raises:
        ValueError: if `learning_rate` is below 0.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = slim.optimizers.GradientDescent(0.5)([weight])
        >>> (3 * weight).sum().backward()
        >>> optimizer.step()
        >>> weight.item()
        -0.5
    """

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """None."""
        return {}

    def update(
        self, group: Mapping[str, Any], rate: Any, weights: Tensors, gradients: Tensors, slots: Mapping[str, Tensors]
    ) -> None:
        """See `Formula.update`."""
        _descend(weights, gradients, [None] * len(weights), rate, momentum=0.0, nesterov=False)


@dataclass(frozen=True)
class Momentum(Formula):
    """Gradient descent with momentum: `m = momentum * m + g`, `w -= learning_rate * m`.

    TF-Slim: TensorFlow's `MomentumOptimizer`.

    Args:
        learning_rate: a number, a tensor or a schedule.
        momentum: the share of `m` that is kept.
        use_nesterov: step by `g + momentum * m` instead of `m` (Sutskever et al., 2013).
        name: what the slot is called in TensorFlow's checkpoints.

    Raises:
        ValueError: if `learning_rate` or `momentum` is below 0.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = slim.optimizers.Momentum(learning_rate=0.1, momentum=0.9)([weight])
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     weight.sum().backward()
        ...     optimizer.step()
        >>> round(weight.item(), 4), optimizer.get_slot(weight, 'momentum')
        (0.71, tensor([1.9000]))
    """

    ranges: ClassVar[Mapping[str, str]] = {"momentum": "[0, inf)"}

    momentum: float
    use_nesterov: bool = field(default=False, kw_only=True)

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """`momentum`."""
        return {"momentum": 0.0}

    def update(
        self, group: Mapping[str, Any], rate: Any, weights: Tensors, gradients: Tensors, slots: Mapping[str, Tensors]
    ) -> None:
        """See `Formula.update`."""
        buffers: list[torch.Tensor | None] = list(slots["momentum"])
        if not group["momentum"]:  # PyTorch's function then leaves them alone
            torch._foreach_copy_(slots["momentum"], gradients)
        _descend(weights, gradients, buffers, rate, momentum=group["momentum"], nesterov=group["use_nesterov"])


@dataclass(frozen=True)
class Adam(Formula):
    """Adam: `m` and `v` are decaying means of `g` and `g ** 2`; `w -= a * m / (sqrt(v) + epsilon)` (arXiv:1412.6980).

    Here `a = learning_rate * sqrt(1 - beta2 ** t) / (1 - beta1 ** t)`: `epsilon` is the paper's "epsilon hat".
    `torch.optim.Adam` adds its own to a root that is corrected already, which matters where epsilon is large.

    TF-Slim: TensorFlow's `AdamOptimizer`. A sparse gradient decays the moments of all rows, as there.

    Args:
        learning_rate: a number, a tensor or a schedule.
        beta1: the share of `m` that is kept.
        beta2: the share of `v` that is kept.
        epsilon: added to the root. Inception on ImageNet wants 1.0 or 0.1.
        name: what the slots are called in TensorFlow's checkpoints.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = slim.optimizers.Adam(0.1, epsilon=0.1)([weight])
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> round(weight.item(), 4)
        0.976
    """

    rows_alone: ClassVar[bool] = False
    ranges: ClassVar[Mapping[str, str]] = {"beta1": "[0, 1)", "beta2": "[0, 1)", "epsilon": "[0, inf)"}

    learning_rate: LearningRate = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """`m` and `v`."""
        return {"m": 0.0, "v": 0.0}

    def update(
        self, group: Mapping[str, Any], rate: Any, weights: Tensors, gradients: Tensors, slots: Mapping[str, Tensors]
    ) -> None:
        """See `Formula.update`."""
        fused = fusable(weights, gradients, slots["m"], slots["v"])
        # PyTorch's function counts the updates of each weight by tensors; fused kernels want them on the device.
        before = torch.full((len(weights),), group["step"] - 1.0, device=weights[0].device if fused else "cpu")
        adam(
            weights,
            gradients,
            slots["m"],
            slots["v"],
            [],
            list(before.unbind()),
            foreach=not fused,
            fused=fused,
            amsgrad=False,
            beta1=group["beta1"],
            beta2=group["beta2"],
            lr=rate if fused else float(rate),
            weight_decay=0.0,
            eps=group["epsilon"] / math.sqrt(1 - group["beta2"] ** group["step"]),
            maximize=False,
        )


def _descend(
    weights: Tensors,
    gradients: Tensors,
    buffers: list[torch.Tensor | None],
    rate: Any,
    *,
    momentum: float,
    nesterov: bool,
) -> None:
    """PyTorch's SGD, whose formula is TensorFlow's; its `_foreach` version would add momentum to the gradients."""
    fused = fusable(weights, gradients, *([buffers] if momentum else ()))
    sgd(
        weights,
        gradients if fused or not nesterov else [gradient.clone() for gradient in gradients],
        buffers,
        foreach=not fused,
        fused=fused,
        weight_decay=0.0,
        momentum=momentum,
        lr=rate if fused else float(rate),
        dampening=0.0,
        nesterov=nesterov,
        maximize=False,
    )
