"""Clipping of all gradients by their norm together: to a fixed one, or to what has been usual so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from torchslim.graph import Variable
from torchslim.learning.gradients import Pair, global_norm, scale_gradients
from torchslim.summaries import Summary


class ClipByGlobalNorm:
    """Scales all gradients so that their norm together is at most `max_norm`.

    Args:
        max_norm: the norm.
        tag: the name of the summary of the norm before clipping; None: no summary.
    """

    def __init__(self, max_norm: float, tag: str | None = None) -> None:
        self.max_norm = max_norm
        self.tag = tag
        self.norm = torch.zeros(())

    def __call__(self, grads_and_vars: list[Pair]) -> list[Pair]:
        """The pairs, clipped."""
        self.norm = global_norm(grads_and_vars)
        return scale_gradients(grads_and_vars, self.max_norm / self.norm.clamp(min=self.max_norm))

    def summaries(self) -> list[Summary]:
        """The norm of the last gradients before they were clipped."""
        return [] if self.tag is None else [Summary("scalar", self.tag, self.norm)]


class AdaptiveClipping:
    """What `adaptive_clipping_fn` gives; its moving averages are kept in the checkpoints of `train`."""

    def __init__(
        self,
        std_factor: float | torch.Tensor,
        decay: float,
        static_max_norm: float | None,
        global_step: Variable | None,
        epsilon: float,
        tag: str | None,
    ) -> None:
        self._std_factor = std_factor
        self._decay = decay
        self._static_max_norm = static_max_norm
        self._global_step = global_step
        self._epsilon = epsilon
        self._tag = tag
        # The averages of the logarithm of the norm and of its square.
        self._means = torch.zeros(2)
        self._max_norm = torch.zeros(())

    @torch.no_grad()
    def __call__(self, grads_and_vars: list[Pair]) -> list[Pair]:
        """The pairs, clipped; nothing waits for the device."""
        norm = global_norm(grads_and_vars)
        self._max_norm, usual = self._update(norm)
        factor = torch.where(norm < self._max_norm, 1.0, usual / norm)
        if self._static_max_norm is not None:
            factor = factor.minimum(self._static_max_norm / norm)
        return scale_gradients(grads_and_vars, factor)

    def _update(self, norm: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Moves the averages; returns the norm from which on to clip, and the one to clip to."""
        log_norm = (norm + self._epsilon).log()
        kept: float | torch.Tensor = self._decay
        if self._global_step is not None:
            step = self._global_step.tensor.to(norm)
            kept = (step / (step + 1)).clamp(max=self._decay)
        means = self._means.to(norm)
        self._means = kept * means + (1 - kept) * torch.stack([log_norm, log_norm.square()])
        mean, mean_square = self._means.unbind()
        deviation = (mean_square - mean.square()).clamp(min=self._epsilon).sqrt()
        return (mean + self._std_factor * deviation).exp(), mean.exp()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The moving averages."""
        return {"means": self._means}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._means = state["means"].clone()

    def summaries(self) -> list[Summary]:
        """The norm from which on the last gradients were clipped, if asked for."""
        return [] if self._tag is None else [Summary("scalar", self._tag, self._max_norm)]


def adaptive_clipping_fn(
    std_factor: float | torch.Tensor = 2.0,
    decay: float = 0.95,
    static_max_norm: float | None = None,
    global_step: Variable | None = None,
    report_summary: bool = False,
    epsilon: float = 1e-8,
    name: str | None = None,
) -> AdaptiveClipping:
    """Clips gradients whose norm is unusual (arXiv:1412.1602, section 3.2.1).

    Moving averages say what is usual: the mean and the standard deviation of the logarithm of the norm of all gradients
    together. Beyond `exp(mean + std_factor * deviation)` all gradients are scaled so that their norm is `exp(mean)`.

    TF-Slim: the same, for `clip_gradients` of `optimize_loss` or `transform_grads_fn` of `create_train_op`. The
    averages start at zero, so give `global_step`, or allow for some `1 / (1 - decay)` steps until they fit.

    Args:
        std_factor: how many deviations above the mean are still usual.
        decay: the share of the averages that is kept.
        static_max_norm: the norm is never let above this; None: no such limit.
        global_step: a Variable; the decay is then at most `step / (step + 1)`, so that the first steps count fully.
        report_summary: have `train` write the norm from which on gradients are clipped.
        epsilon: the least variance, also added to the norm.
        name: put before the tag of the summary, with a slash.

    Returns:
        A function of pairs of a gradient and a variable that gives such pairs.

    Raises:
        ValueError: if `decay` is not from 0 to 1, or `static_max_norm` is not above 0.

    Example:
        >>> clip = slim.adaptive_clipping_fn(std_factor=0.5, decay=0.5)
        >>> norms = [clip([(torch.tensor([norm]), 'weights')])[0][0].item() for norm in 10 * [2.0] + [100.0]]
        >>> [round(norm, 2) for norm in norms[-2:]]
        [2.0, 14.14]
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"adaptive_clipping_fn: `decay` must be from 0 to 1. Got {decay!r}.")
    if static_max_norm is not None and not static_max_norm > 0:
        raise ValueError(f"adaptive_clipping_fn: `static_max_norm` must be above 0. Got {static_max_norm!r}.")
    tag = f"{name}/" * bool(name) + "global_norm/adaptive_max_gradient_norm" if report_summary else None
    return AdaptiveClipping(std_factor, decay, static_max_norm, global_step, epsilon, tag)
