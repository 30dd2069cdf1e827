"""`check_numerics`: what is not finite in a step is found before the update, and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import distributed
from torch.utils._pytree import tree_leaves

from torchslim.graph.parts import local
from torchslim.learning.device import process

# On the CPU larger gradients are not looked at: reading those of VGG16's dense layers again would take 2 % of a step.
# What is not finite there comes from what is not finite in the gradient of their biases, or of layers before them.
LARGEST_ON_CPU = 1 << 22
# Up to this size the kernel for many gradients, which writes them back, is faster than their sums.
_SMALL: Final = 1 << 14
_NEVER: Final = torch.iinfo(torch.int64).max


class NumericsCheck:
    """Looks at the loss and the gradients of each step.

    On the CPU, where reading a number costs nothing, `look` raises before the update. Elsewhere reading would wait for
    the device: there `look` sets all gradients of a bad step to zero, so that the variables stay finite, and notes on
    the device what was bad; `raise_if_bad` tells.

    Args:
        names: of the gradients.
        device: where they are.
        inputs: names of what a batch has.
        at_once: whether `look` raises. Default: on the CPU.
        in_parts: whether each of several processes has a part of each gradient, so that a single one may see what is
            bad. Otherwise all see it: where a loss is not finite, so is the mean of the gradients.

    Example:
        >>> check = NumericsCheck(['fc/weights'], torch.device('cpu'), ['images'])
        >>> check.look(7, {'the loss': torch.tensor(torch.inf)}, [torch.zeros(2)], (torch.tensor(torch.nan),))
        Traceback (most recent call last):
        FloatingPointError: check_numerics: input 'images' is not finite at step 7, nor is the loss. ...
    """

    def __init__(
        self,
        names: Sequence[str],
        device: torch.device,
        inputs: Sequence[str] = (),
        *,
        at_once: bool | None = None,
        in_parts: bool = False,
    ) -> None:
        self._names = names
        self._inputs = inputs
        self._at_once = device.type == "cpu" if at_once is None else at_once
        self._in_parts = in_parts
        self._first_bad_step = torch.full((), _NEVER, device=device)
        self._bad = torch.zeros((), dtype=torch.bool, device=device)  # what was, in that step: one for each label
        self._labels: list[str] = []
        self._one, self._small_is_bad = torch.ones((), device=device), torch.zeros((), device=device)

    def look(
        self,
        step: int,
        losses: Mapping[str, torch.Tensor],
        gradients: Sequence[torch.Tensor | None],
        batch: Sequence[Any],
    ) -> None:
        """Looks at one step, between the backward pass and the update.

        Args:
            step: its number, for the message.
            losses: name -> scalar: the loss, then the terms that it is the sum of.
            gradients: in the order of the names; None where there is none. Some are written back as they are.
            batch: what the step was computed from.

        Raises:
            FloatingPointError: on the CPU, if something is not finite.
        """
        if self._in_parts:
            gradients = list(map(local, gradients))
        if self._at_once:
            is_finite = self._is_finite([*losses.values(), *(g for g in gradients if g is not None)])
            if not self._in_any(torch.tensor(not is_finite)) if self._in_parts else is_finite:
                return
        bad = _flags(losses, gradients, batch)
        self._labels = [f"input {name!r}" for name in self._names_of(batch)]
        self._labels += [*losses, *(f"the gradient of {name!r}" for name in self._names)]
        is_bad = self._in_any(bad[len(batch) :].any())
        is_first = is_bad & (self._first_bad_step == _NEVER)
        self._bad = torch.where(is_first, bad, self._bad)
        self._first_bad_step = torch.where(is_first, step, self._first_bad_step)
        if self._at_once:
            self._raise("The variables are as before that step")
        for gradient in gradients:
            if gradient is not None:
                gradient.masked_fill_(is_bad, 0.0)

    def raise_if_bad(self) -> None:
        """Raises if a step has been bad. Except on the CPU, it waits for the device.

        Several processes have to ask at the same step.

        Raises:
            FloatingPointError: it names the first such step, and what was not finite there, and in which process.
        """
        if not self._at_once:
            self._raise("The variables are finite: such steps have no gradient")

    def _is_finite(self, values: Sequence[torch.Tensor]) -> bool:
        """Whether all are. A call costs more than the numbers of a small tensor: those are looked at in one."""
        small = [value for value in values if value.numel() <= _SMALL]
        large = [] if len(small) == len(values) else [v for v in values if _SMALL < v.numel() <= LARGEST_ON_CPU]
        self._small_is_bad.zero_()
        try:
            torch._amp_foreach_non_finite_check_and_unscale_(small, self._small_is_bad, self._one)
        except RuntimeError:  # it knows neither complex nor sparse tensors, nor views that repeat a number
            large += small
        return not self._small_is_bad and all(bool(value.sum().isfinite()) for value in large)

    def _raise(self, variables: str) -> None:
        step = int(self._first_bad_step)
        if step == _NEVER:
            return
        bad, where = self._blamed()
        more = f", nor {'is' if len(bad) == 2 else 'are'} {bad[1]}" + ", ..." * (len(bad) > 2) if bad[1:] else ""
        raise FloatingPointError(
            f"check_numerics: {bad[0]} is not finite at step {step}{where}{more}. {variables}; checkpoints are "
            "not written with such values. Lower the learning rate, set `clip_gradient_norm`, or look for bad values "
            "in the batch."
        )

    def _blamed(self) -> tuple[list[str], str]:
        """What was bad, and in which process: the first one with a bad loss, or else with a bad gradient."""
        bad = [label for label, is_bad in zip(self._labels, self._bad.tolist(), strict=True) if is_bad]
        size = process()[1]
        if size == 1:
            return bad, ""
        of_all: list[list[str]] = [bad] * size
        distributed.all_gather_object(of_all, bad)

        def guilt(rank: int) -> int:
            kinds = {label.partition(" ")[0] for label in of_all[rank] if not label.startswith("the gradient")}
            return 2 if kinds - {"input"} else bool(of_all[rank])

        first = max(range(size), key=guilt)
        return of_all[first], f" in process {first}" if guilt(first) == 2 else ""

    def _in_any(self, is_bad: torch.Tensor) -> torch.Tensor:
        """Whether it is so in this process or, where gradients are in parts, in any."""
        if not self._in_parts:
            return is_bad
        number = is_bad.to(torch.uint8)
        distributed.all_reduce(number, distributed.ReduceOp.MAX)
        return number.bool()

    def _names_of(self, batch: Sequence[Any]) -> Sequence[str]:
        return self._inputs if len(self._inputs) == len(batch) else [str(i) for i in range(len(batch))]


def _flags(
    losses: Mapping[str, torch.Tensor], gradients: Sequence[torch.Tensor | None], batch: Sequence[Any]
) -> torch.Tensor:
    """For each part of the batch, each loss and each gradient, whether it has a value that is not finite."""
    groups = [[leaf for leaf in tree_leaves(part) if _is_floating(leaf)] for part in batch]
    groups += [[loss.detach()] for loss in losses.values()]
    groups += [[gradient] if gradient is not None and gradient.numel() else [] for gradient in gradients]
    # Few kernels for all: a norm would overflow where the largest value does not.
    largest = iter(torch._foreach_norm([tensor.detach().flatten() for group in groups for tensor in group], torch.inf))
    nothing = next(iter(losses.values())).new_zeros((), dtype=torch.float32)
    of_groups = [[next(largest).float() for _ in group] or [nothing] for group in groups]
    return ~torch.stack([torch.stack(values).amax() for values in of_groups]).isfinite()


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel() > 0
