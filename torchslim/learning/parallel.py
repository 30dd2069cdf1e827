"""How processes that train together share the work: each with all variables (DDP), or each with a part (FSDP2)."""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import distributed, nn

from torchslim.graph import Variable
from torchslim.graph.parts import is_in_parts, whole
from torchslim.learning.device import process
from torchslim.learning.objective import Objective
from torchslim.learning.trained import tensor_of

PARALLEL = ("ddp", "fsdp")

# PyTorch 2.14 has a new name for it.
_NAMES = inspect.signature(nn.parallel.DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers": False
}


class Alone:
    """One process has all the work.

    Attributes:
        loss: computes the loss of a batch.
        size: how many processes there are.
        keeps_parts: whether each has a part of the variables only.
    """

    size = 1
    keeps_parts = False

    def __init__(self, objective: Objective) -> None:
        self.loss: nn.Module = objective

    def averaging(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """What a batch runs in: the processes average their gradients once a step, when the last batch is in."""
        return contextlib.nullcontext()

    def check_gradients(self, trained: Sequence[Variable]) -> None:
        """Looks whether all gradients are there."""

    def after_update(self) -> None:
        """Has all processes go on with the same statistics."""

    @contextlib.contextmanager
    def whole_variables(self, instead: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[None]:
        """Has ordinary variables stand in the modules; every process has to enter.

        Args:
            instead: pairs of a variable's tensor and one whose values to have there.
        """
        values = [tensor.data for tensor, _ in instead]
        for tensor, value in instead:
            tensor.data = value
        try:
            yield
        finally:
            for (tensor, _), before in zip(instead, values, strict=True):
                tensor.data = before

    def gather(self) -> None:
        """Puts ordinary parameters back into the modules, for good."""


class Replicas(Alone):
    """Each of several processes has all variables: `DistributedDataParallel`.

    What is no parameter, such as moving means, is that of the first process after each step, as in TF-Slim, where only
    the first clone updated them.
    """

    def __init__(self, objective: Objective, device: torch.device) -> None:
        super().__init__(objective)
        self.size = process()[1]
        state = objective.state_dict(keep_vars=True).values()
        self._buffers = [t for t in state if isinstance(t, torch.Tensor) and not isinstance(t, nn.Parameter)]
        self.loss = self._divide(objective, device)
        self._with_gradients = [parameter for parameter in self.loss.parameters() if parameter.requires_grad]

    def _divide(self, objective: Objective, device: torch.device) -> nn.Module:
        devices = [device] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(objective, devices, init_sync=False, **_OWN_BUFFERS)

    def averaging(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """See `Alone`."""
        return contextlib.nullcontext() if is_last else self.loss.no_sync()  # type: ignore[operator]

    def check_gradients(self, trained: Sequence[Variable]) -> None:
        """See `Alone`.

        Raises:
            ValueError: if one is missing; other processes would wait for it in the next step.
        """
        missing = {id(parameter) for parameter in self._with_gradients if parameter.grad is None}
        if missing:
            names = [variable.op.name for variable in trained if id(tensor_of(variable)) in missing]
            raise ValueError(
                "train: where several processes train, each variable needs a gradient in each step. Got none for "
                f"{', '.join(names)}. Say with `variables_to_train` on which variables the loss depends."
            )

    def after_update(self) -> None:
        """See `Alone`."""
        take_from_first(self._buffers)


class Shards(Replicas):
    """Each process keeps a part of every parameter, and of what is remembered of it: PyTorch's `fully_shard`.

    The modules themselves are not touched: what gathers the parameters for a step is hung around the objective.
    """

    keeps_parts = True

    def _divide(self, objective: Objective, device: torch.device) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        slots = [(m, name, p) for m in objective.modules() for name, p in m._parameters.items() if p is not None]
        for _, _, parameter in slots:
            parameter.data = parameter.data.contiguous()  # it takes no other layout
        shell = _Shell(objective)
        fully_shard(shell, mesh=init_device_mesh(device.type, (self.size,)))
        # Where a parameter stands, the parameter, and the part of it that has its place.
        self._slots = [(module, name, parameter, getattr(module, name)) for module, name, parameter in slots]
        self._empty()
        return shell

    def averaging(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """See `Alone`."""
        self.loss.set_requires_gradient_sync(is_last)  # type: ignore[operator]
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def whole_variables(self, instead: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[None]:
        """See `Alone`."""
        self.gather({id(tensor): value for tensor, value in instead})
        try:
            with super().whole_variables([pair for pair in instead if not is_in_parts(pair[0])]):
                yield
        finally:
            for module, name, _, part in self._slots:
                module._parameters[name] = part
            self._empty()

    def gather(self, instead: Mapping[int, torch.Tensor] = types.MappingProxyType({})) -> None:
        """See `Alone`."""
        gathered: set[int] = set()
        for module, name, parameter, part in self._slots:
            if id(parameter) not in gathered:  # modules may share one
                parameter.data = whole(instead.get(id(part), part).detach())
                gathered.add(id(parameter))
            module._parameters[name] = parameter

    def _empty(self) -> None:
        for _, _, parameter, _ in self._slots:
            parameter.data = parameter.data.new_empty(0)


class _Shell(nn.Module):
    """What FSDP2 changes the class and the hooks of, so that no module of the user's is changed."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, *batch: Any) -> torch.Tensor:
        return self.objective(*batch)


def share_work(objective: Objective, device: torch.device, parallel: str) -> Alone:
    """How the processes that there are share the work.

    Args:
        objective: the loss; its variables have memory on the device.
        device: where it runs.
        parallel: `'ddp'` or `'fsdp'`; a single process has all the work in either case.

    Raises:
        ValueError: if `parallel` is none of these.
    """
    if parallel not in PARALLEL:
        raise ValueError(f"train: `parallel` must be one of {', '.join(map(repr, PARALLEL))}. Got {parallel!r}.")
    if process()[1] == 1:
        return Alone(objective)
    return Shards(objective, device) if parallel == "fsdp" else Replicas(objective, device)


def start_alike(tensors: Mapping[str, torch.Tensor]) -> None:
    """Gives the variables of all processes the values of the first.

    Raises:
        ValueError: if another process has other variables.
    """
    size = process()[1]
    if size == 1:
        return
    here = {name: f"{tensor.dtype} {list(tensor.shape)}" for name, tensor in tensors.items()}
    of_all: list[Any] = [None] * size
    distributed.all_gather_object(of_all, here)
    differing = [(number, there.items() ^ of_all[0].items()) for number, there in enumerate(of_all)]
    for number, others in differing:
        if others:
            raise ValueError(
                f"train: all processes must train the same model. Got {sorted(others)[0]} in only one of the processes "
                f"0 and {number}."
            )
    take_from_first(list(tensors.values()))


@torch.no_grad()
def take_from_first(tensors: Sequence[torch.Tensor]) -> None:
    """Copies the first process's tensors into those of the others, few of them at a time in one message."""
    for dtype in {tensor.dtype: None for tensor in tensors}:
        group = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
        together = torch.cat([tensor.flatten() for tensor in group])
        distributed.broadcast(together.view(torch.uint8), 0)
        for tensor, part in zip(group, together.split([tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(part.view(tensor.shape))
