"""TensorFlow's optimizers that adapt their steps to squared gradients: RMSProp, Adagrad, Adadelta, FTRL.

In the formulas, `w` is a weight and `g` its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from torchslim.optimizers.formula import Formula, LearningRate, Tensors


@dataclass(frozen=True)
class RMSProp(Formula):
    """RMSProp: a gradient is divided by the root of the mean of its squares (Hinton, 2012).

    `r = decay * r + (1 - decay) * g ** 2`, `m = momentum * m + learning_rate * g / sqrt(r + epsilon)`, `w -= m`.
    Unlike in `torch.optim.RMSprop`, `r` starts at one, epsilon is below the root, and the rate is inside of `m`.

    TF-Slim: TensorFlow's `RMSPropOptimizer`.

    Args:
        learning_rate: a number, a tensor or a schedule.
        decay: the share of `r` that is kept.
        momentum: the share of `m` that is kept.
        epsilon: added to `r`. TF-Slim's scripts train Inception with 1.0.
        centered: divide by the variance, `r` minus the square of the mean gradient, instead of `r` (arXiv:1308.0850).
        name: what the slots are called in TensorFlow's checkpoints.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = slim.optimizers.RMSProp(0.1, decay=0.9, momentum=0.9, epsilon=1.0)([weight])
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> round(weight.item(), 4), optimizer.get_slot_names()
        (0.9293, ['rms', 'momentum'])
    """

    ranges: ClassVar[Mapping[str, str]] = {"decay": "[0, 1]", "momentum": "[0, inf)", "epsilon": "[0, inf)"}

    decay: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-10
    centered: bool = field(default=False, kw_only=True)

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """`rms`, then `mg` (the mean gradient) if centered, and `momentum`."""
        return {"rms": 1.0, **({"mg": 0.0} if group["centered"] else {}), "momentum": 0.0}

    def update(
        self, group: Mapping[str, Any], rate: Any, weights: Tensors, gradients: Tensors, slots: Mapping[str, Tensors]
    ) -> None:
        """See `Formula.update`."""
        _decay_towards_square(slots["rms"], gradients, group["decay"])
        if group["centered"]:
            torch._foreach_lerp_(slots["mg"], gradients, 1 - group["decay"])
            variances = torch._foreach_addcmul(slots["rms"], slots["mg"], slots["mg"], value=-1)
            torch._foreach_clamp_min_(variances, 0.0)  # rounding can take it below, where TensorFlow makes NaN
            torch._foreach_add_(variances, group["epsilon"])
        else:
            variances = torch._foreach_add(slots["rms"], group["epsilon"])
        torch._foreach_sqrt_(variances)
        torch._foreach_mul_(slots["momentum"], group["momentum"])
        torch._foreach_addcdiv_(slots["momentum"], torch._foreach_mul(gradients, rate), variances)
        torch._foreach_sub_(weights, slots["momentum"])


@dataclass(frozen=True)
class Adagrad(Formula):
    """Adagrad: `a += g ** 2`, `w -= learning_rate * g / sqrt(a)` (Duchi et al., 2011).

    TF-Slim: TensorFlow's `AdagradOptimizer`: `a` starts above zero, and there is no epsilon.

    Args:
        learning_rate: a number, a tensor or a schedule.
        initial_accumulator_value: what `a` starts at, above 0.
        name: what the slot is called in TensorFlow's checkpoints.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = slim.optimizers.Adagrad(0.1)([weight])
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> round(weight.item(), 4), optimizer.get_slot(weight, 'accumulator')
        (0.9047, tensor([1.1000]))
    """

    ranges: ClassVar[Mapping[str, str]] = {"initial_accumulator_value": "(0, inf)"}

    initial_accumulator_value: float = 0.1

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """`accumulator`."""
        return {"accumulator": group["initial_accumulator_value"]}

    def update(
        self, group: Mapping[str, Any], rate: Any, weights: Tensors, gradients: Tensors, slots: Mapping[str, Tensors]
    ) -> None:
        """See `Formula.update`."""
        torch._foreach_addcmul_(slots["accumulator"], gradients, gradients)
        steps = torch._foreach_mul(gradients, rate)
        torch._foreach_addcdiv_(weights, steps, torch._foreach_sqrt(slots["accumulator"]), value=-1)


@dataclass(frozen=True)
class Adadelta(Formula):
    """Adadelta: steps that have the size of earlier ones (arXiv:1212.5701).

    `a` and `b` are decaying means of `g ** 2` and `u ** 2`, `u = g * sqrt(b + epsilon) / sqrt(a + epsilon)`, and
    `w -= learning_rate * u`.

    TF-Slim: TensorFlow's `AdadeltaOptimizer`, with its defaults; the paper's learning rate is 1.

    Args:
        learning_rate: a number, a tensor or a schedule.
        rho: the share of the means that is kept.
        epsilon: added to the means; the first steps depend on it.
        name: what the slots are called in TensorFlow's checkpoints.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = slim.optimizers.Adadelta(1.0, rho=0.95, epsilon=1e-6)([weight])
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> round(weight.item(), 4), optimizer.get_slot_names()
        (0.9955, ['accum', 'accum_update'])
    """

    ranges: ClassVar[Mapping[str, str]] = {"rho": "[0, 1]", "epsilon": "[0, inf)"}

    learning_rate: LearningRate = 0.001
    rho: float = 0.95
    epsilon: float = 1e-8

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """`accum` and `accum_update`: the means of the squared gradients and steps."""
        return {"accum": 0.0, "accum_update": 0.0}

    def update(
        self, group: Mapping[str, Any], rate: Any, weights: Tensors, gradients: Tensors, slots: Mapping[str, Tensors]
    ) -> None:
        """See `Formula.update`."""
        _decay_towards_square(slots["accum"], gradients, group["rho"])
        steps = torch._foreach_add(slots["accum_update"], group["epsilon"])
        torch._foreach_div_(steps, torch._foreach_add(slots["accum"], group["epsilon"]))
        torch._foreach_sqrt_(steps)
        torch._foreach_mul_(steps, gradients)
        _decay_towards_square(slots["accum_update"], steps, group["rho"])
        torch._foreach_mul_(steps, rate)
        torch._foreach_sub_(weights, steps)


@dataclass(frozen=True)
class Ftrl(Formula):
    """FTRL-Proximal: follow the regularized leader; its L1 penalty makes weights exactly zero (McMahan et al., 2013).

    With `p = -learning_rate_power`: `z += g - ((n + g ** 2) ** p - n ** p) / learning_rate * w`, `n += g ** 2`, and
    `w = 0` where `|z| <= l1`, else `(sign(z) * l1 - z) / (n ** p / learning_rate + 2 * l2)`.

    TF-Slim: TensorFlow's `FtrlOptimizer`. A weight does not go on from where it was: it is recomputed from `z`.

    Args:
        learning_rate: a number, a tensor or a schedule; above 0, since it is divided by.
        learning_rate_power: how the rate falls with `n`, at most 0; 0: not at all.
        initial_accumulator_value: what `n` starts at.
        l1_regularization_strength: `l1`.
        l2_regularization_strength: `l2`: pulls the weight that is computed.
        l2_shrinkage_regularization_strength: adds `2 * it * w` to `g` in `z`: pulls the weight that was there.
        beta: adds `beta / (2 * learning_rate)` to `l2`.
        name: what the slots are called in TensorFlow's checkpoints.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = slim.optimizers.Ftrl(0.1, l1_regularization_strength=10.0)([weight])
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.item(), optimizer.get_slot_names()
        (0.0, ['accum', 'linear'])
    """

    ranges: ClassVar[Mapping[str, str]] = {
        "learning_rate_power": "(-inf, 0]",
        "initial_accumulator_value": "[0, inf)",
        "l1_regularization_strength": "[0, inf)",
        "l2_regularization_strength": "[0, inf)",
        "l2_shrinkage_regularization_strength": "[0, inf)",
        "beta": "[0, inf)",
    }

    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = field(default=0.0, kw_only=True)
    beta: float = field(default=0.0, kw_only=True)

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """`accum` and `linear`: n and z."""
        return {"accum": group["initial_accumulator_value"], "linear": 0.0}

    def update(
        self, group: Mapping[str, Any], rate: Any, weights: Tensors, gradients: Tensors, slots: Mapping[str, Tensors]
    ) -> None:
        """See `Formula.update`."""
        power, l1 = -group["learning_rate_power"], group["l1_regularization_strength"]
        before = torch._foreach_pow(slots["accum"], power)
        torch._foreach_addcmul_(slots["accum"], gradients, gradients)
        curvatures = torch._foreach_pow(slots["accum"], power)
        pulls = torch._foreach_sub(curvatures, before)
        torch._foreach_div_(pulls, rate)
        torch._foreach_add_(slots["linear"], gradients)
        torch._foreach_addcmul_(slots["linear"], pulls, weights, value=-1)
        if group["l2_shrinkage_regularization_strength"]:
            torch._foreach_add_(slots["linear"], weights, alpha=2 * group["l2_shrinkage_regularization_strength"])
        torch._foreach_add_(curvatures, group["beta"])
        torch._foreach_div_(curvatures, rate)
        torch._foreach_add_(curvatures, 2 * group["l2_regularization_strength"])
        torch._foreach_clamp_min_(curvatures, torch.finfo(curvatures[0].dtype).tiny)  # n = 0 and g = 0: 0, not NaN
        clamped = torch._foreach_clamp_min(slots["linear"], -l1)
        torch._foreach_clamp_max_(clamped, l1)
        torch._foreach_sub_(clamped, slots["linear"])
        torch._foreach_div_(clamped, curvatures)
        torch._foreach_copy_(weights, clamped)


def _decay_towards_square(means: Tensors, tensors: Tensors | tuple[torch.Tensor, ...], decay: float) -> None:
    torch._foreach_mul_(means, decay)
    torch._foreach_addcmul_(means, tensors, tensors, value=1 - decay)
